"""Do two sets of logits agree? One answer for runtimes and for exports."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FLIPPED = 0.02
"""Largest share of rows that may get another predicted class."""
CHANCE = 0.05
"""How often a runtime that flips just that share may be refused by the luck of the probe."""


def allowed_flips(rows: int) -> int:
    """Return how many of so many probe rows may flip: more would be too many to have come from `FLIPPED` by chance.

    A bare `FLIPPED * rows` refused one of two equal variants on 3 rows in 128 and served the other.
    """
    return max(1, int(stats.binom.ppf(1 - CHANCE, rows, FLIPPED)))


def agreement(reference: NDArray[Any], logits: NDArray[Any], regression: bool, tolerance: float) -> dict[str, Any]:
    """Return relative L2 error, argmax agreement, flipped rows, and whether all are within bounds.

    Args:
        reference: float (rows, outputs).
        logits: float (rows, outputs), to be held against it.
        regression: there are no classes to flip.
        tolerance: largest relative L2 error.
    """
    error = float(np.linalg.norm(logits - reference) / max(float(np.linalg.norm(reference)), 1e-12))
    flips = 0 if regression else int((logits.argmax(1) != reference.argmax(1)).sum())
    within = error <= tolerance and flips <= allowed_flips(len(logits))
    return {
        "relative_l2_error": error,
        "argmax_agreement": 1.0 - flips / len(logits),
        "flips": flips,
        "faithful": bool(np.isfinite(logits).all() and within),
    }
