"""Findings: the examples that flipped between two variants of a study, read one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dqf.data.catalog import glue_task, short_name
from dqf.data.texts import evaluation_texts
from dqf.errors import UserError
from dqf.settings import Settings
from dqf.sweeps.plan import Override, Plan, expand
from dqf.ui import components
from dqf.ui.compare import comparisons, flip_view
from dqf.ui.compare.comparisons import Scored
from dqf.ui.findings import tables
from dqf.ui.findings.studies import Study

COLUMNS = ["condition", "seed", "variant", "bits", "idx", "label", "prediction", "logits"]


def show(study: Study, part: Mapping[str, Any], settings: Settings) -> None:
    """Render the flip explorer, closed at first: it reads all predictions of a task."""
    st.subheader("Read the examples", anchor=False)
    opened = st.expander(
        "Examples that two variants of this study answer differently",
        icon=":material/compare_arrows:",
        key=f"study_examples_{study.name}",
        on_change="rerun",
    )
    if opened.open:
        with opened:
            _explore(study, part, settings)


@st.fragment
def _explore(study: Study, part: Mapping[str, Any], settings: Settings) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        task = str(st.selectbox("Task", part["tasks"], key=f"study_task_{study.name}", width=200))
        seed = int(st.selectbox("Seed", part["seeds"], key=f"study_seed_{study.name}", width=140))
    try:
        group = scored(study, part, task, seed)
    except UserError as error:
        components.notice("warning", "The predictions of this task cannot be read.", str(error))
        return
    if len(group) < 2:
        st.caption("This task has fewer than two variants of this seed.")
        return
    labels = {row["system"]: tables.system_title(row) for row in part["variants"]}
    source = flip_view.Source(
        {one.key: labels.get(one.key, one.key) for one in group},
        lambda key: classes(study, task),
        lambda key: _texts(study, task, settings),
    )
    flip_view.explore([group], source)


def scored(study: Study, part: Mapping[str, Any], task: str, seed: int) -> list[Scored]:
    """Return the predictions of every system of a study on a task, of one seed; the teacher has one for all.

    Raises:
        UserError: the file is missing or not of this form.
    """
    metrics = {row["task"]: str(row["metric"]) for one in part["variants"] for row in one["tasks"]}
    found = []
    for row in part["variants"]:
        mine = predictions(study, part, task, str(row["system"]))
        mine = mine if row["variant"] == tables.TEACHER else mine[mine["seed"] == seed]
        if len(mine) and not mine["idx"].duplicated().any():
            found.append(comparisons.from_frame(str(row["system"]), task, metrics[task], mine.sort_values("idx")))
    return [one for one in found if comparisons.comparable(found[0], one)]


def predictions(study: Study, part: Mapping[str, Any], task: str, system: str) -> pd.DataFrame:
    """Return the rows of a system on a task, of all seeds.

    Raises:
        UserError: the file is missing or not of this form.
    """
    path = study.folder / "predictions" / f"{task}.parquet"
    try:
        frame = _read(str(path), path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError):
        raise UserError(
            f"a study keeps the predictions of each task: {path.name} of {study.name} cannot be read."
        ) from None
    variant, _, bits = system.partition("@")
    chosen = (frame["variant"] == variant) & (frame["bits"] == (bits or "16"))
    return frame[(frame["condition"] == part["condition"]) & chosen]


@st.cache_data(max_entries=6, show_spinner="Reading the predictions…")
def _read(path: str, mtime_ns: int) -> pd.DataFrame:
    return pd.read_parquet(path, columns=COLUMNS)


def classes(study: Study, task: str) -> list[str]:
    """Return the names of a task's classes where they are known; studies of earlier versions keep none."""
    if kept := _facts(study, task).get("labels"):
        return [str(name) for name in kept]
    known = glue_task(_facts(study, task).get("source", "").removeprefix("glue:"))
    return list(known.labels) if known else []


def _facts(study: Study, task: str) -> Mapping[str, Any]:
    found = (study.facts.get("tasks") or {}).get(task)
    return found if isinstance(found, Mapping) else {}


def _texts(study: Study, task: str, settings: Settings) -> pd.DataFrame:
    facts = _facts(study, task)
    config = config_of(study, task)
    return _read_texts(str(facts.get("data_sha256")), config, settings)


@st.cache_data(max_entries=16, show_spinner="Reading the texts…", hash_funcs={Settings: repr})
def _read_texts(data_sha256: str, config: dict[str, Any], settings: Settings) -> pd.DataFrame:
    return evaluation_texts(config, data_sha256, settings)


def config_of(study: Study, task: str) -> dict[str, Any]:
    """Return the config of a run of the study with this task; its data is held against the SHA-256 later.

    Raises:
        UserError: the plan has no such run, or is not one.
    """
    plan = study.facts.get("plan")
    try:
        given: Mapping[str, Any] = plan if isinstance(plan, Mapping) else {}
        overrides = tuple(
            Override({path: tuple(values) for path, values in one["when"].items()}, one["set"])
            for one in given.get("overrides", ())
        )
        axes = {path: tuple(values) for path, values in given["axes"].items()}
        runs = expand(Plan(given["base"], axes, overrides, given.get("fixed", {}))).runs
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"texts are found by the study's plan: that of {study.name} cannot be read.") from None
    for run in runs:
        if short_name(run.config.task.source) == task:
            return run.config.to_dict()
    raise UserError(f"texts are found by the study's plan: that of {study.name} has no run of {task}.")
