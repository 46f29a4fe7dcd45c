"""Where it will run: which measured row serves a scenario best, and whether that is what textbooks advise. Pure pandas.

Textbook advice is the common rule of thumb for the scenario, put as a test on rows; it is a claim that the
measured rows may refute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dqf.ui import format as fmt
from dqf.ui.axes import numbers
from dqf.ui.frontier.budgets import Budget

CLOSE = 0.05
"""Rows whose costs differ by less count as equal: repeated measurements differ by as much."""
AGREES, DISAGREES, TIE, UNTESTED, NOTHING = "Agrees", "Disagrees", "Even", "Not tested", "Nothing fits"
STUDENTS = ("student-ft", "student-kd")
FUSED = "student-dqf"
QUANTIZED = ("student-ptq", FUSED)


@dataclass(frozen=True)
class Scenario:
    """One place where a model may run.

    Attributes:
        title, icon: how the page calls it.
        counts: what matters there, our own words.
        advice: the textbook's recommendation with its reason.
        kind: what the advised rows are, to end "none of these rows is ...".
        advised: whether a row is what the advice asks for.
        cost: float (n,) by row, lower is better; NaN where it was not measured.
        text: one row's figure as people read it.
    """

    title: str
    icon: str
    counts: str
    advice: str
    kind: str
    advised: Callable[[Mapping[str, Any]], bool]
    cost: Callable[[pd.DataFrame], NDArray[np.float64]]
    text: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Advice:
    """What the rows say about a scenario.

    Attributes:
        scenario: which one.
        best: the row that serves it best, None if none fits.
        textbook: the best of the rows the textbook advises, None if there is none.
        verdict: one of `AGREES`, `DISAGREES`, `TIE`, `UNTESTED`, `NOTHING`.
        sentence: where they agree or not, with figures.
        gain: the teacher's cost divided by the best row's; NaN if not known.
    """

    scenario: Scenario
    best: Mapping[str, Any] | None
    textbook: Mapping[str, Any] | None
    verdict: str
    sentence: str
    gain: float = float("nan")


def has_throughput(frame: pd.DataFrame) -> bool:
    """Tell whether all rows were measured in batches."""
    return "throughput_per_s" in frame and bool(frame["throughput_per_s"].notna().all())


def scenarios(batches: bool) -> tuple[Scenario, ...]:
    """Return the scenarios.

    Args:
        batches: whether throughput was measured in batches; else it is derived from the latency, and labelled so.
    """
    column, unit = ("throughput_per_s", "texts/s") if batches else ("latency_ms_p50", "texts/s, one by one")

    def per_second(row: Mapping[str, Any]) -> str:
        value = row[column] if batches else 1000 / row[column]
        return f"{fmt.significant(value)}{fmt.NBSP}{unit}"

    return (
        Scenario(
            "Cloud",
            ":material/cloud:",
            "Throughput in batches of 8" if batches else "Throughput: 1000 / median latency, as no batches were timed",
            "Quantize to 8 bits: full batches are bound by arithmetic, and INT8 arithmetic is the fastest there is.",
            "8-bit",
            lambda row: row["bits"] == 8,
            lambda frame: 1 / numbers(frame, column) if batches else numbers(frame, column),
            per_second,
        ),
        Scenario(
            "Edge",
            ":material/memory:",
            "Peak memory of the process that serves it",
            "Quantize to 4 bits or fewer: memory is the limit, and weights are most of it.",
            "quantized to 4 bits or fewer",
            lambda row: row["variant"] in QUANTIZED and row["bits"] <= 4,
            lambda frame: numbers(frame, "peak_rss_bytes"),
            lambda row: fmt.size(row["peak_rss_bytes"]),
        ),
        Scenario(
            "Real-time",
            ":material/bolt:",
            "Latency of one text, p90: slow answers count",
            "Distil, and stay in 16 bits: fewer layers shorten every answer, while quantization mostly saves memory.",
            "a student in 16 bits",
            lambda row: row["variant"] in STUDENTS,
            lambda frame: numbers(frame, "latency_ms_p90"),
            lambda row: fmt.milliseconds(row["latency_ms_p90"]),
        ),
        Scenario(
            "Mobile",
            ":material/smartphone:",
            "File, memory and latency together (geometric mean)",
            "Distil and quantize to 4 bits: download, memory and battery all count at once.",
            "distilled and quantized to 4 bits or fewer",
            lambda row: row["variant"] == FUSED and row["bits"] <= 4,
            _all_costs,
            lambda row: " · ".join(
                (fmt.size(row["size_bytes"]), fmt.size(row["peak_rss_bytes"]), fmt.milliseconds(row["latency_ms_p50"]))
            ),
        ),
    )


def advise(frame: pd.DataFrame, scenario: Scenario, loss: float) -> Advice:
    """Return which row serves a scenario best and whether the textbook's choice is as good.

    Args:
        frame: rows of one task measured on one machine (`dqf.ui.frames.derive`).
        scenario: what counts.
        loss: allowed below the teacher, as a share.
    """
    costs = pd.Series(scenario.cost(frame), index=frame.index)
    students = ((frame["variant"] != "teacher") & frame["verified"]).to_numpy() & np.isfinite(costs.to_numpy())
    fits = students & Budget(loss=loss).fits(frame)
    advised = np.array([scenario.advised(_plain(frame, index)) for index in frame.index], dtype=np.bool_)
    textbook = _lowest(frame, costs, students & advised & fits)
    best = _lowest(frame, costs, fits)
    if best is None:
        return Advice(scenario, None, None, NOTHING, "No verified student holds the allowed loss; allow more.")
    gain = float(_teacher_costs(frame, costs)[best]) / float(costs[best])
    row = _plain(frame, best)
    if textbook is None:
        lost = _lowest(frame, costs, students & advised)
        if lost is None:
            return Advice(scenario, row, None, UNTESTED, f"None of these rows is {scenario.kind}.", gain)
        other = _plain(frame, lost)
        points = fmt.points(other["score"] - other["teacher_score"])
        said = f"The textbook's choice, {other['name']}, costs too much score: {points} against its teacher."
        return Advice(scenario, row, other, DISAGREES, said, gain)
    other = _plain(frame, textbook)
    worse = float(costs[textbook]) / float(costs[best]) - 1
    if textbook == best:
        return Advice(scenario, row, other, AGREES, f"It is {scenario.kind}, as advised.", gain)
    said = f"{other['name']} at {scenario.text(other)}, {fmt.significant(100 * worse, 2)}{fmt.NBSP}% worse"
    if worse < CLOSE:
        return Advice(
            scenario, row, other, TIE, f"The textbook's choice is {said}: no more than measurements vary.", gain
        )
    return Advice(scenario, row, other, DISAGREES, f"The textbook's choice is {said}.", gain)


def table(frame: pd.DataFrame, found: tuple[Scenario, ...], loss: float) -> pd.DataFrame:
    """Return every row with its figure in every scenario, as a multiple of its teacher's where there is one."""
    lines = pd.DataFrame({"Variant": frame["name"].to_numpy(), "Run": frame["run_id"].to_numpy()})
    lines["Holds the loss"] = Budget(loss=loss).fits(frame)
    for one in found:
        costs = pd.Series(one.cost(frame), index=frame.index)
        lines[one.title] = (_teacher_costs(frame, costs) / costs).to_numpy()
    lines["Texts/s"] = (
        numbers(frame, "throughput_per_s") if has_throughput(frame) else 1000 / numbers(frame, "latency_ms_p50")
    )
    lines["Memory (MB)"] = numbers(frame, "peak_rss_bytes") / 1e6
    lines["p90 (ms)"] = numbers(frame, "latency_ms_p90")
    lines["Size (MB)"] = numbers(frame, "size_bytes") / 1e6
    lines["Score (%)"] = 100 * numbers(frame, "score")
    lines["Verified"] = frame["verified"].to_numpy()
    return lines


def _all_costs(frame: pd.DataFrame) -> NDArray[np.float64]:
    columns = [numbers(frame, name) for name in ("size_bytes", "peak_rss_bytes", "latency_ms_p50")]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(np.mean([np.log(column) for column in columns], axis=0)))


def _teacher_costs(frame: pd.DataFrame, costs: pd.Series) -> pd.Series:
    """Return the cost of each row's own teacher, that of its run; NaN where it is not among the rows."""
    is_teacher = (frame["variant"] == "teacher").to_numpy()
    own = dict(zip(frame["run_id"][is_teacher], costs[is_teacher], strict=True))
    return frame["run_id"].map(own).astype(float)


def _lowest(frame: pd.DataFrame, costs: pd.Series, among: NDArray[np.bool_]) -> Any:
    """Return the index of the lowest cost, the higher score first on a tie; None if there are no rows."""
    rows = np.flatnonzero(among)
    if not len(rows):
        return None
    order = np.lexsort((-numbers(frame, "score")[rows], costs.to_numpy()[rows]))
    return frame.index[rows[order[0]]]


def _plain(frame: pd.DataFrame, index: Any) -> dict[str, Any]:
    return {str(name): value for name, value in frame.loc[index].items()}
