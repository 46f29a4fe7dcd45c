"""Limits on size, latency and score: which variants fit, which is best, and what the closest misses. Pure pandas.

The score's limit is relative: so many points below the teacher of the same run and task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dqf.evaluate.pareto import SAME_SIZE, cheapest_within
from dqf.ui import format as fmt
from dqf.ui.axes import Axis, numbers

NONE = math.inf
"""Stands for no limit."""
STEPS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
SCORE_WEIGHT = 10.0
"""When the closest variant is looked for, a point of score weighs as much as 10 % of size or latency."""
SLACK = 1e-12
"""For rounding: a variant that just meets a limit fits."""


LIMITED = ("size_bytes", "latency_ms_p50", "score", "teacher_score")
"""Columns that limits and the choice look at."""


@dataclass(frozen=True)
class Budget:
    """What a variant may cost, each part `NONE` if it does not matter.

    Attributes:
        size_bytes: largest file.
        latency_ms: slowest median answer.
        loss: of score below the run's own teacher, as a share.
    """

    size_bytes: float = NONE
    latency_ms: float = NONE
    loss: float = NONE

    def misses(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return by how much each variant breaks each limit, 0 where it holds it, infinite where nothing is known.

        Args:
            frame: variants (`dqf.ui.frames.derive`).

        Returns:
            Columns size and latency (shares of the limit) and score (share points below what is needed).
        """
        needed = numbers(frame, "teacher_score") - self.loss
        return pd.DataFrame(
            {
                "size": _over(numbers(frame, "size_bytes"), self.size_bytes),
                "latency": _over(numbers(frame, "latency_ms_p50"), self.latency_ms),
                "score": _under(numbers(frame, "score"), needed, self.loss),
            },
            index=frame.index,
        )

    def fits(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Tell which variants hold every limit."""
        return np.asarray((self.misses(frame) <= 0).all(axis=1), dtype=bool)

    def words(self) -> str:
        """Return the limits as the end of "Smallest ...", empty without any."""
        parts = []
        if self.loss != NONE:
            parts.append(f"within {100 * self.loss:g} pp of the teacher")
        if self.size_bytes != NONE:
            parts.append(f"at most {fmt.size(self.size_bytes)}")
        if self.latency_ms != NONE:
            parts.append(f"at most {fmt.milliseconds(self.latency_ms)}")
        return joined(parts)


@dataclass(frozen=True)
class Choice:
    """The variant that answers a budget.

    Attributes:
        row: the variant.
        fits: whether it holds all limits; else it is the one that is closest to it.
        misses: by limit (`Budget.misses`), only those it breaks.
    """

    row: Mapping[str, Any]
    fits: bool
    misses: Mapping[str, float]


def choose(frame: pd.DataFrame, budget: Budget, cost: str) -> Choice | None:
    """Return the verified student with the lowest cost that fits, or the one whose largest (weighed) miss is smallest.

    Args:
        frame: variants to choose from.
        budget: the limits.
        cost: column that shall be small; of sizes that are the smallest but for one per cent the higher score wins.

    Returns:
        The choice; None if there is no verified student with known figures.
    """
    at = np.flatnonzero(((frame["variant"] != "teacher") & frame["verified"]).to_numpy(dtype=bool))
    students = frame[list(dict.fromkeys((*LIMITED, cost)))].iloc[at].set_axis(at)  # of thousands, only what is needed
    fitting = students[budget.fits(students)]
    best = cheapest_within(fitting[cost], fitting["score"], -np.inf, 0.0, SAME_SIZE if cost == "size_bytes" else 0.0)
    if best is not None:
        return Choice(_row(frame, int(fitting.index[best])), True, {})
    misses = budget.misses(students)
    known = students[np.isfinite(misses.to_numpy()).all(axis=1)]
    if known.empty:
        return None
    misses = misses.loc[known.index]
    weighed = misses.to_numpy() * np.array([SCORE_WEIGHT if name == "score" else 1.0 for name in misses])
    nearest = int(np.lexsort((numbers(known, cost), weighed.sum(axis=1), weighed.max(axis=1)))[0])
    broken = {str(name): float(value) for name, value in misses.iloc[nearest].items() if value > 0}
    return Choice(_row(frame, int(known.index[nearest])), not broken, broken)


def sentence(choice: Choice | None, budget: Budget) -> str:
    """Return the answer after its heading: what the best variant costs, or what the closest one misses."""
    if choice is None:
        return "no verified student with known figures is among these rows."
    row = choice.row
    if choice.fits:
        return _figures(row) + doubt(row, budget)
    return f"no variant fits; the closest is {row['label']}: it misses {joined(_missed(choice, budget))}."


def stops(values: NDArray[np.float64], also: float | None = None) -> list[float]:
    """Return round numbers from just above the smallest value to just above the largest, for a slider.

    Args:
        values: in the slider's unit.
        also: a number that must be among them.
    """
    good = values[np.isfinite(values) & (values > 0)]
    found = {also} if also is not None and math.isfinite(also) and also > 0 else set()
    if len(good):
        low, high = float(good.min()), float(good.max())
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        ladder = [float(f"{step * 10.0**power:.3g}") for power in powers for step in STEPS]
        below = [one for one in ladder if one < low]
        found |= {one for one in ladder if low <= one <= high} | set(below[-1:])
    return sorted(found)


def limit_on(axis: Axis, budget: Budget) -> float:
    """Return the limit on an axis in its unit, `NONE` if it has none."""
    return {"size_bytes": budget.size_bytes, "latency_ms_p50": budget.latency_ms}.get(axis.column, NONE) * axis.scale


def joined(parts: list[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def _over(values: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    if limit == NONE:
        return np.zeros(len(values))
    over = np.maximum(values / limit - 1, 0)
    return np.where(np.isnan(values), np.inf, np.where(over <= SLACK, 0, over))


def _under(scores: NDArray[np.float64], needed: NDArray[np.float64], loss: float) -> NDArray[np.float64]:
    if loss == NONE:
        return np.zeros(len(scores))
    under = np.maximum(needed - scores, 0)
    return np.where(np.isnan(under), np.inf, np.where(under <= SLACK, 0, under))


def _row(frame: pd.DataFrame, at: int) -> dict[str, Any]:
    return {str(name): value for name, value in frame.iloc[at].items()}


def _figures(row: Mapping[str, Any]) -> str:
    interval = fmt.percent_interval(row["score_ci95_low"], row["score_ci95_high"])
    score = f"score {fmt.percent(row['score'])}" + (f" ({interval}, n {fmt.count(row['n'])})" if interval else "")
    return (
        f"{row['label']}: {fmt.size(row['size_bytes'])} ({fmt.times(row['compression_ratio'])} smaller), "
        f"{fmt.milliseconds(row['latency_ms_p50'])} ({fmt.times(row['speedup'])} faster), {score}, "
        f"{fmt.points(row['score'] - row['teacher_score'])} against its teacher."
    )


def doubt(row: Mapping[str, Any], budget: Budget) -> str:
    """Say so if the interval of the retention reaches below what the score's limit asks for."""
    low, teacher = row.get("retention_ci95_low"), row["teacher_score"]
    if budget.loss == NONE or not (fmt.known(low) and fmt.known(teacher)) or low * teacher >= teacher - budget.loss:
        return ""
    return (
        f" With n {fmt.count(row['n'])}, a larger loss cannot be ruled out: its 95 % interval reaches below the limit."
    )


def _missed(choice: Choice, budget: Budget) -> list[str]:
    row, misses = choice.row, choice.misses
    parts = []
    if "size" in misses:
        parts.append(
            f"size by {_percent(misses['size'])} ({fmt.size(row['size_bytes'])} against {fmt.size(budget.size_bytes)})"
        )
    if "latency" in misses:
        against = f"{fmt.milliseconds(row['latency_ms_p50'])} against {fmt.milliseconds(budget.latency_ms)}"
        parts.append(f"latency by {_percent(misses['latency'])} ({against})")
    if "score" in misses:
        lost = f"{fmt.points(row['score'] - row['teacher_score'])} against the teacher"
        parts.append(f"the score by {fmt.significant(100 * misses['score'], 2)}{fmt.NBSP}pp ({lost})")
    return parts


def _percent(share: float) -> str:
    return f"{fmt.significant(100 * share, 2)}{fmt.NBSP}%"
