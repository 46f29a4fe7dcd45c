"""Pareto frontiers over tables of variants: pure numpy, no plotting and no store.

Costs (size, latency) are better when lower, scores better when higher. Rows with a missing value
are never efficient and dominate nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.ArrayLike
Mask = npt.NDArray[np.bool_]


SAME_SIZE = 0.01
"""Share by which files of one bit-width may differ, where each layer was given bits by its own sensitivity."""


def pareto_mask(cost: Floats, score: Floats) -> Mask:
    """Tell which points no other point beats in both cost and score.

    A point is dominated if another is at least as good in both and better in one; equal points
    stay together.

    Args:
        cost: float (n,), lower is better.
        score: float (n,), higher is better.

    Returns:
        bool (n,), true for efficient points.
    """
    costs, scores = _columns(cost, score)
    mask = np.zeros(len(costs), dtype=bool)
    known = np.flatnonzero(np.isfinite(costs) & np.isfinite(scores))
    best, best_cost = -np.inf, np.nan
    for i in known[np.lexsort((-scores[known], costs[known]))]:
        if scores[i] > best or (scores[i] == best and costs[i] == best_cost):
            mask[i] = True
            best, best_cost = scores[i], costs[i]
    return mask


def step_line(cost: Floats, score: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the frontier as points of a staircase: the best score that a cost can buy.

    Args:
        cost: float (n,).
        score: float (n,).

    Returns:
        costs and scores of the efficient points by rising cost, to be drawn with steps that keep
        the score until the next point (`shape="hv"`).
    """
    costs, scores = _columns(cost, score)
    efficient = np.flatnonzero(pareto_mask(costs, scores))
    points = np.unique(np.column_stack((costs[efficient], scores[efficient])), axis=0)
    return points[:, 0], points[:, 1]


def cheapest_within(
    cost: Floats, score: Floats, reference: Floats, tolerance: float, same_cost: float = 0.0
) -> int | None:
    """Return the index of the cheapest point whose score is at most `tolerance` below its reference.

    Args:
        cost: float (n,), lower is better.
        score: float (n,).
        reference: float (n,) or a number, for example the score of each row's own teacher.
        tolerance: in the units of the score, for example 0.02 for 2 percentage points.
        same_cost: share of the lowest cost by which others may exceed it and still tie with it.

    Returns:
        The index; the higher score wins a tie in cost; None if no point is good enough.
    """
    costs, scores = _columns(cost, score)
    wanted = np.broadcast_to(np.asarray(reference, dtype=np.float64), scores.shape) - tolerance
    good = np.flatnonzero(np.isfinite(costs) & np.isfinite(scores) & (scores >= wanted - 1e-12))
    if not len(good):
        return None
    good = good[costs[good] <= costs[good].min() * (1 + same_cost)]
    return int(good[np.lexsort((costs[good], -scores[good]))[0]])


def _columns(cost: Floats, score: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    costs = np.asarray(cost, dtype=np.float64)
    scores = np.asarray(score, dtype=np.float64)
    if costs.ndim != 1 or costs.shape != scores.shape:
        raise ValueError(f"`cost` and `score` must be equally long columns: got shapes {costs.shape}, {scores.shape}")
    return costs, scores
