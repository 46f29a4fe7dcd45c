"""Do two sets of logits agree? One answer for runtimes and for exports."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLIPPED = 0.02
"""Largest share of probe rows with another predicted class; one row is always allowed, for a near tie."""


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
    within = error <= tolerance and flips <= max(1, FLIPPED * len(logits))
    return {
        "relative_l2_error": error,
        "argmax_agreement": 1.0 - flips / len(logits),
        "flips": flips,
        "faithful": bool(np.isfinite(logits).all() and within),
    }
