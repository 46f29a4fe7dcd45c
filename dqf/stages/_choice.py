"""Which of the runtimes that were measured serves a variant: pure, no torch.

The variants of one network at all its bit-widths are judged together (decision 3): each was measured at a moment of its
own, and a disturbance of a second or two decides a single measurement.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

MARGIN = 0.10
"""How much faster a less exact runtime must be to be preferred; keeps the choice stable between runs."""
ORDER = ("FP32", "BF16", "INT8")
"""Precisions of the arithmetic, the most exact first."""
POOLED = "pooled_latency"
"""In a candidate's row: its time over that of the network's fastest one, all bit-widths together."""

Row = dict[str, Any]
Key = TypeVar("Key", bound=Hashable)


def pooled_latencies(tables: Sequence[Sequence[Row]]) -> dict[str, float]:
    """Return how many times as slow as the fastest each runtime is, over all tables in which it is faithful.

    log(ms) is taken as a file's part plus a runtime's part, fitted by least squares: with the same runtimes in all
    tables these are ratios of geometric means, and one that is missing from a table is compared in the others.

    Args:
        tables: candidates of one file each, `runtime`, `faithful` and `latency_ms_p50`; files of one network.
    """
    timed = [
        (at, row["runtime"], np.log(row["latency_ms_p50"]))
        for at, rows in enumerate(tables)
        for row in rows
        if row["faithful"]
    ]
    names = sorted({name for _, name, _ in timed})
    design = np.zeros((len(timed), len(tables) + len(names)))
    for place, (at, name, _) in enumerate(timed):
        design[place, at] = design[place, len(tables) + names.index(name)] = 1.0
    fitted = np.linalg.lstsq(design, np.array([ms for _, _, ms in timed]), rcond=None)[0][len(tables) :]
    return dict(zip(names, np.exp(fitted - fitted.min(initial=np.inf)).tolist(), strict=True))


def choose(rows: Sequence[Row], pooled: Mapping[str, float] | None = None) -> Row:
    """Return the fastest faithful candidate; a less exact one only if it is clearly faster.

    Args:
        rows: candidates of one file, at least one of them faithful.
        pooled: of `pooled_latencies`; without it the file's own times decide.
    """
    faithful = [row for row in rows if row["faithful"]]
    times = {row["runtime"]: pooled[row["runtime"]] if pooled else row["latency_ms_p50"] for row in faithful}
    fastest = min(times.values())
    near = [row for row in faithful if times[row["runtime"]] <= fastest * (1 + MARGIN)]
    return min(near, key=lambda row: (ORDER.index(row["precision"]), times[row["runtime"]]))


def choose_together(tables: Mapping[Key, Sequence[Row]]) -> dict[Key, Row]:
    """Return the chosen candidate of each of a network's files, judged by the times of all of them.

    Args:
        tables: candidates by file; each has a faithful one. Rows of faithful ones are given `pooled_latency`.
    """
    pooled = pooled_latencies(list(tables.values()))
    for rows in tables.values():
        for row in rows:
            if row["faithful"]:
                row[POOLED] = pooled[row["runtime"]]
    return {key: choose(rows, pooled) for key, rows in tables.items()}
