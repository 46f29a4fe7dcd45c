"""The quantities that charts can show, with units and intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dqf.ui import format as fmt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """One quantity that a chart can show.

    Attributes:
        title: what people pick and read.
        column: column of the variants table.
        scale: factor from the table's unit to the axis's.
        unit: of the axis.
        low, high: columns with the 95 % interval, empty without one.
    """

    title: str
    column: str
    scale: float
    unit: str
    low: str = ""
    high: str = ""

    @property
    def label(self) -> str:
        """Title with unit."""
        return f"{self.title} ({self.unit})"

    def values(self, frame: pd.DataFrame) -> Floats:
        """Return the column in the axis's unit."""
        return numbers(frame, self.column) * self.scale

    def interval(self, frame: pd.DataFrame) -> tuple[Floats, Floats]:
        """Return the lower and the upper end of the 95 % interval, NaN where there is none."""
        if not self.low:
            return np.full(len(frame), np.nan), np.full(len(frame), np.nan)
        return numbers(frame, self.low) * self.scale, numbers(frame, self.high) * self.scale

    def text(self, value: Any) -> str:
        """Return one value of the table as people read it."""
        return {"MB": fmt.size, "ms": fmt.milliseconds}.get(self.unit, fmt.percent)(value)


SIZE = Axis("Size", "size_bytes", 1e-6, "MB")
LATENCY = Axis("Latency", "latency_ms_p50", 1.0, "ms")
SCORE = Axis("Score", "score", 100.0, "%", "score_ci95_low", "score_ci95_high")
RETENTION = Axis("Retention", "retention", 100.0, "% of teacher", "retention_ci95_low", "retention_ci95_high")
COSTS = {axis.title: axis for axis in (SIZE, LATENCY)}
QUALITIES = {axis.title: axis for axis in (SCORE, RETENTION)}


def numbers(frame: pd.DataFrame, column: str) -> Floats:
    """Return a column as floats, NaN where a value is missing."""
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
