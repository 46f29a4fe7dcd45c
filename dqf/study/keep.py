"""A study made in several sittings, perhaps on several machines: tasks that are whole in its folder already stay there.

A task is the unit, because all its runs share a teacher: another machine, which lacks that teacher's weights, makes a
task anew or leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from dqf.data.catalog import short_name
from dqf.study.collect import TASK, Tables, prediction_names
from dqf.study.files import plain
from dqf.study.recipe import joined


def keep_older(new: Tables, old: Tables, planned: Iterable[str]) -> Tables:
    """Return the new tables, with the older rows of every task that has more runs there.

    Args:
        new: of the runs made here.
        old: of the study's folder.
        planned: names of the tasks the study is about; others are not kept.

    Returns:
        Tables whose `study` names under `kept` the tasks whose rows are older, each with the description and the plan
        they were made by. Nothing is kept of a study of another name or with other conditions.
    """
    if any(plain(new.study[name]) != plain(old.study[name]) for name in ("name", "conditions")):
        return new
    _carry_faults(new, old)
    planned = set(planned)
    kept = [task for task in old.study["tasks"] if task in planned and _runs(old.study, task) > _runs(new.study, task)]
    if not kept:
        return new
    origin = {"description": old.study["description"], "plan": old.study["plan"]}
    newer = {task: facts for task, facts in new.study["tasks"].items() if task not in kept}
    study = {
        **new.study,
        "runs": [*_of(new.study, kept, False), *_of(old.study, kept, True)],
        "unfinished": [
            *(one for one in new.study["unfinished"] if _task(one) not in kept),
            *(one for one in old.study["unfinished"] if _task(one) in kept),
        ],
        "tasks": {**newer, **{task: old.study["tasks"][task] for task in kept}},
        "environments": [
            *(new.study["environments"] if newer else ()),
            *(one for one in old.study["environments"] if not newer or one not in new.study["environments"]),
        ],
        "settings": _settings(new.study if newer else None, old.study),
        "kept": {task: old.study.get("kept", {}).get(task, origin) for task in kept},
    }
    return Tables(
        study,
        _joined(new.variants, old.variants, kept),
        _joined(new.latency, old.latency, kept),
        {
            **{name: new.predictions[name] for name in prediction_names(new.study["tasks"], newer)},
            **{name: old.predictions[name] for name in prediction_names(old.study["tasks"], kept)},
        },
    )


def _settings(new: Mapping[str, Any] | None, old: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of both; nothing if those of the older runs are not known: a part is not the whole."""
    return joined(new["settings"] if new else {}, old["settings"]) if old.get("settings") else {}


def _carry_faults(new: Tables, old: Tables) -> None:
    """Keep what was found wrong later with a task for as long as its runs are the same."""
    for task, facts in new.study["tasks"].items():
        fault = old.study["tasks"].get(task, {}).get("fault")
        ids = [{run["run_id"] for run in study["runs"] if run["task"] == task} for study in (new.study, old.study)]
        if fault and ids[0] == ids[1]:
            facts["fault"] = fault


def _runs(study: Mapping[str, Any], task: str) -> int:
    return sum(run["task"] == task for run in study["runs"])


def _of(study: Mapping[str, Any], kept: list[str], inside: bool) -> list[dict[str, Any]]:
    return [run for run in study["runs"] if (run["task"] in kept) is inside]


def _task(unfinished: Mapping[str, Any]) -> str:
    """Return whose run it is; studies of earlier versions say so only where tasks are an axis."""
    return str(unfinished.get("task") or short_name(str(unfinished["settings"].get(TASK, ""))))


def _joined(new: pd.DataFrame, old: pd.DataFrame, kept: list[str]) -> pd.DataFrame:
    """Return the rows of both: the older ones of what is kept, the newer ones of everything else."""
    parts = [new[~new["task"].isin(kept)], old[old["task"].isin(kept)]]
    return pd.concat([part for part in parts if not part.empty], ignore_index=True)
