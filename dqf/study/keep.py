"""A study made in several sittings, perhaps on several machines: tasks that are whole in its folder already stay there.

A task is the unit, because all its runs share a teacher: another machine, which lacks that teacher's weights, makes a
task anew or leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from dqf.study.collect import TASK, Tables
from dqf.study.files import plain


def keep_older(new: Tables, old: Tables, planned: Iterable[str]) -> Tables:
    """Return the new tables, with the older rows of every task that has more runs there.

    Args:
        new: of the runs made here.
        old: of the study's folder.
        planned: sources of the tasks the study is about; others are not kept.

    Returns:
        Tables whose `study` names under `kept` the tasks whose rows are older, each with the description and the plan
        they were made by. Nothing is kept of a study of another name or with other conditions.
    """
    if any(plain(new.study[name]) != plain(old.study[name]) for name in ("name", "conditions")):
        return new
    planned = set(planned)
    kept = [
        task
        for task, facts in old.study["tasks"].items()
        if facts["source"] in planned and _runs(old.study, task) > _runs(new.study, task)
    ]
    if not kept:
        return new
    sources = {old.study["tasks"][task]["source"] for task in kept}
    origin = {"description": old.study["description"], "plan": old.study["plan"]}
    newer = {task: facts for task, facts in new.study["tasks"].items() if task not in kept}
    study = {
        **new.study,
        "runs": [*_of(new.study, kept, False), *_of(old.study, kept, True)],
        "unfinished": [
            *(one for one in new.study["unfinished"] if _source(one) not in sources),
            *(one for one in old.study["unfinished"] if _source(one) in sources),
        ],
        "tasks": {**newer, **{task: old.study["tasks"][task] for task in kept}},
        "environments": [
            *new.study["environments"],
            *(one for one in old.study["environments"] if one not in new.study["environments"]),
        ],
        "kept": {task: old.study.get("kept", {}).get(task, origin) for task in kept},
    }
    return Tables(
        study,
        _joined(new.variants, old.variants, kept),
        _joined(new.latency, old.latency, kept),
        {
            **{task: new.predictions[task] for task in newer},
            **{task: old.predictions[task] for task in kept},
        },
    )


def _runs(study: Mapping[str, Any], task: str) -> int:
    return sum(run["task"] == task for run in study["runs"])


def _of(study: Mapping[str, Any], kept: list[str], inside: bool) -> list[dict[str, Any]]:
    return [run for run in study["runs"] if (run["task"] in kept) is inside]


def _source(unfinished: Mapping[str, Any]) -> Any:
    return unfinished["settings"].get(TASK)


def _joined(new: pd.DataFrame, old: pd.DataFrame, kept: list[str]) -> pd.DataFrame:
    """Return the rows of both: the older ones of what is kept, the newer ones of everything else."""
    parts = [new[~new["task"].isin(kept)], old[old["task"].isin(kept)]]
    return pd.concat([part for part in parts if not part.empty], ignore_index=True)
