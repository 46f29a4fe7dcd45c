"""Findings: two variants of a study against each other, task by task and on average, paired over examples and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from dqf.errors import UserError
from dqf.evaluate.metrics import metric
from dqf.evaluate.statistics import (
    MacroResamples,
    TaskResamples,
    difference_of,
    holm,
    macro_average,
    resample_task,
)
from dqf.study.files import SUMMARY
from dqf.ui import components
from dqf.ui import format as fmt
from dqf.ui.compare import differences
from dqf.ui.findings import examples, tables
from dqf.ui.findings.studies import Study
from dqf.ui.findings.view import PLAIN, rows_behind

Part = Mapping[str, Any]
AVERAGE, MACRO = "average", "macro"
ALPHA = 0.05
METHOD = (
    "Second minus first, in percentage points of each task's metric, mean over the seeds that both have. Intervals and "
    "p: paired bootstrap over examples and seeds; p corrected (Holm) over the tasks, of the average as it is. Filled: "
    "below 5 %. No difference shown does not mean equal."
)


def show(study: Study, part: Part, bits: str) -> None:
    """Render the comparison, closed at first: it reads the predictions of all tasks."""
    titles = {str(row["system"]): tables.system_title(row) for row in part["variants"]}
    if len(titles) < 2:
        return
    opened = st.expander(
        "Two variants against each other: is the difference real?",
        icon=":material/balance:",
        key=f"study_duel_{study.name}",
        on_change="rerun",
    )
    if opened.open:
        with opened:
            _duel(study, part, bits, titles)


@st.fragment
def _duel(study: Study, part: Part, bits: str, titles: dict[str, str]) -> None:
    key = f"{study.name}_{part['condition']}_{bits}"
    usual = [name if name in titles else list(titles)[-1] for name in (f"student-ptq@{bits}", f"{tables.DQF}@{bits}")]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first, second = (
            _choose(label, titles, one, key) for label, one in zip(("First", "Second"), usual, strict=True)
        )
    if first == second:
        st.caption("Choose two different variants.")
        return
    try:
        stamp = (study.folder / SUMMARY).stat().st_mtime_ns
        rows = _compared(study, part, str(study.folder), stamp, str(part["condition"]), first, second)
    except (UserError, OSError) as error:
        components.notice("warning", "The predictions of this study cannot be read.", str(error))
        return
    kind = next(str(row["variant"]) for row in part["variants"] if row["system"] == second)
    drawn = rows.assign(first=first, second=rows["task"])
    labels = {first: titles[first], **{task: task for task in rows["task"]}}
    averages: Any = rows[rows["metric"] == MACRO].to_dict("records")
    whole, *others = averages
    st.markdown(f"**{_sentence(titles[first], titles[second], whole)}**")
    for other in others:
        mute = other["task"].removeprefix(f"{AVERAGE} without ")
        st.markdown(f"Without {mute}, whose teacher gives one answer to all: {_told(other)}.")
    st.plotly_chart(
        differences.forest(drawn, labels, dict.fromkeys(rows["task"], kind), named_first=False),
        config=PLAIN,
        key=f"duel_chart_{key}_{first}_{second}",
        alt=f"Differences of {titles[second]} from {titles[first]} on each task with 95 % intervals; rows below",
    )
    st.caption(METHOD)
    rows_behind(readable(rows), "differences-by-task")


def _choose(label: str, titles: dict[str, str], usual: str, key: str) -> str:
    names = list(titles)
    shown = st.selectbox(
        label, names, names.index(usual), format_func=lambda name: titles[name], key=f"duel_{label}_{key}", width=240
    )
    return str(shown)


@st.cache_data(max_entries=32, show_spinner="Comparing on every example…")
def _compared(_study: Study, _part: Part, folder: str, stamp: int, condition: str, *names: str) -> pd.DataFrame:
    first, second = names
    return compare(_study, _part, first, second)


def compare(study: Study, part: Part, first: str, second: str) -> pd.DataFrame:
    """Return one row per task and one for the average: second minus first.

    Where some task's teacher does no better than one answer to all, a second average is without it.

    Returns:
        Columns task, metric, n, seeds, score_first, score_second, difference, low, high (95 %), p_value, p_holm
        (over the tasks), verdict (`second`, `first` or empty).

    Raises:
        UserError: predictions are missing, or the two share no seed.
    """
    resampled, rows = [], []
    resamples = study.summary.get("n_resamples") or 2000
    metrics = {row["task"]: str(row["metric"]) for one in part["variants"] for row in one["tasks"]}
    for at, task in enumerate(part["tasks"]):
        labels, predictions = _both(study, part, task, first, second)
        found = resample_task(metric(metrics[task]), labels, predictions, int(resamples), seed=at)
        resampled.append(found)
        seeds = max(len(one) for one in predictions.values())
        rows.append({"task": task, "metric": metrics[task], "n": found.n, "seeds": seeds})
        rows[-1] |= _difference(macro_average([found], resample_seeds=True), first, second)
    for row, corrected in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    mute = {flag["task"] for flag in part["sanity"] if isinstance(flag, Mapping) and flag.get("kind") == "constant"}
    telling = [at for at, task in enumerate(part["tasks"]) if task not in mute]
    averages: dict[str, Sequence[int]] = {AVERAGE: range(len(rows))}
    if 0 < len(telling) < len(rows):
        averages[f"{AVERAGE} without {', '.join(task for task in part['tasks'] if task in mute)}"] = telling
    rows += [
        _average(name, [rows[at] for at in over], [resampled[at] for at in over], first, second)
        for name, over in averages.items()
    ]
    table = pd.DataFrame(rows)
    claimed = (table["p_holm"] < ALPHA) & (table["difference"] != 0)
    table["verdict"] = np.where(claimed, np.where(table["difference"] > 0, "second", "first"), "")
    return table


def _average(
    name: str, rows: Sequence[Mapping[str, Any]], resampled: Sequence[TaskResamples], first: str, second: str
) -> dict[str, Any]:
    found = _difference(macro_average(resampled, resample_seeds=True), first, second)
    n, seeds = sum(row["n"] for row in rows), max(row["seeds"] for row in rows)
    return {"task": name, "metric": MACRO, "n": n, "seeds": seeds, **found, "p_holm": found["p_value"]}


def _difference(macro: MacroResamples, first: str, second: str) -> dict[str, float]:
    found = difference_of(macro, second, first)
    return {
        "score_first": macro.scores[first],
        "score_second": macro.scores[second],
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
    }


def _both(study: Study, part: Part, task: str, first: str, second: str) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Return labels (n,) and the predictions (seeds, n) of two systems on a task, of the seeds that both have."""
    by_seed: dict[str, dict[int, pd.DataFrame]] = {}
    for name in (first, second):
        rows = examples.predictions(study, part, task, name)
        by_seed[name] = {int(str(seed)): one.sort_values("idx") for seed, one in rows.groupby("seed")}
    trained = [set(found) for name, found in by_seed.items() if name != tables.TEACHER]
    seeds = sorted(set.intersection(*trained))
    if not seeds or not all(by_seed.values()):
        raise UserError(f"two variants are compared on the seeds that both have: on {task} they share none.")
    labels = next(iter(by_seed[first].values()))["label"].to_numpy()
    stacked = {
        name: np.stack(
            [one["prediction"].to_numpy() for seed, one in found.items() if name == tables.TEACHER or seed in seeds]
        )
        for name, found in by_seed.items()
    }
    return labels, stacked


def _sentence(first: str, second: str, whole: Mapping[str, Any]) -> str:
    shown = "" if whole["verdict"] else ": no difference can be shown"
    return f"On average {second} is {_told(whole)} {first}{shown} (p {fmt.p_value(whole['p_value'])})."


def _told(row: Mapping[str, Any]) -> str:
    """Return `2.3 points [1.1, 3.5] above`: the interval counts in the word's direction."""
    word, sign = ("above", 1) if row["difference"] >= 0 else ("below", -1)
    low, high = sorted(100 * sign * row[end] for end in ("low", "high"))
    return f"{100 * abs(row['difference']):.1f} points [{low:.1f}, {high:.1f}] {word}".replace("-", "\u2212")


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as people read them."""
    return pd.DataFrame(
        {
            "Task": rows["task"],
            "Metric": rows["metric"],
            "First": 100 * rows["score_first"],
            "Second": 100 * rows["score_second"],
            "Difference (pp)": 100 * rows["difference"],
            "low": 100 * rows["low"],
            "high": 100 * rows["high"],
            "p": rows["p_value"],
            "p, corrected": rows["p_holm"],
            "n": rows["n"],
            "Seeds": rows["seeds"],
        }
    )
