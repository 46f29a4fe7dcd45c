"""Which of the runtimes that were measured serves a variant: pure, no torch.

The files of one network in a run, at all bit-widths, are judged together (decision 3): each was measured at a moment of
its own, and a disturbance of a second or two may decide a single measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MARGIN = 0.10
"""How much faster a less exact runtime must be to be preferred; keeps the choice stable between runs."""
ORDER = ("FP32", "BF16", "INT8")
"""Precisions of the arithmetic, the most exact first."""
POOLED = "pooled_latency"
"""In a candidate's row: its time over that of the fastest one that may serve the file, all files taken together."""

Row = dict[str, Any]


def competes(row: Row) -> bool:
    """Tell whether a candidate may be chosen: its logits agree, and it was timed in turns with others that may.

    One that its first passes ruled out has a time of these alone, of one text, which compares with nothing.
    """
    return bool(row["faithful"]) and not row["error"]


def pooled_latencies(tables: Sequence[Sequence[Row]]) -> dict[str, float]:
    """Return the time of each runtime relative to the others', over all tables in which it competes.

    log(ms) is taken as a file's part plus a runtime's part, fitted by least squares: with the same runtimes in all
    tables the ratios of these are those of geometric means, and one that is missing from a table is compared in the
    others. Runtimes that no tables connect are on scales of their own.

    Args:
        tables: candidates of one file each, with `runtime` and `latency_ms_p50`; files of one network.
    """
    timed = [
        (at, row["runtime"], np.log(row["latency_ms_p50"]))
        for at, rows in enumerate(tables)
        for row in rows
        if competes(row)
    ]
    names = sorted({name for _, name, _ in timed})
    design = np.zeros((len(timed), len(tables) + len(names)))
    for place, (at, name, _) in enumerate(timed):
        design[place, at] = design[place, len(tables) + names.index(name)] = 1.0
    fitted = np.linalg.lstsq(design, np.array([ms for _, _, ms in timed]), rcond=None)[0][len(tables) :]
    return dict(zip(names, np.exp(fitted).tolist(), strict=True))


def with_pooled(rows: Sequence[Row], pooled: Mapping[str, float]) -> list[Row]:
    """Return a file's candidates, those that compete with one another with their `pooled_latency`."""
    times = {row["runtime"]: pooled[row["runtime"]] for row in rows if competes(row)}
    if len(times) < 2:
        return list(rows)
    fastest = min(times.values())
    return [{**row, POOLED: times[row["runtime"]] / fastest} if competes(row) else row for row in rows]


def choose(rows: Sequence[Row], pooled: Mapping[str, float]) -> Row:
    """Return the fastest candidate that may be chosen; a less exact one only if it is clearly faster.

    Args:
        rows: candidates of one file, at least one of which competes.
        pooled: of `pooled_latencies`, for tables with this one.
    """
    able = [row for row in rows if competes(row)]
    fastest = min(pooled[row["runtime"]] for row in able)
    near = [row for row in able if pooled[row["runtime"]] <= fastest * (1 + MARGIN)]
    return min(near, key=lambda row: (ORDER.index(row["precision"]), pooled[row["runtime"]]))
