"""The crowd behind the bubbles: where there are thousands of points, most are drawn as one shape.

A page with 400 bubbles was there a quarter of a second later than one with 50, in Chromium without a
graphics card; a shape is one path, whatever it holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dqf.ui.axes import Floats
from dqf.ui.theme import NEUTRAL_COLOR

Mask = npt.NDArray[np.bool_]
DOT_PX = 4
DOT_SHARE = 0.0025
"""Half the length of a dot, as a share of the axis."""


def crowd_mask(efficient: Mask, marked: Mask, most: int) -> Mask:
    """Tell which points are left to the crowd.

    Args:
        efficient: bool (n,), points that no other beats; they stay bubbles.
        marked: bool (n,), so do they.
        most: and so do the first `most`, which are the newest.

    Returns:
        bool (n,).
    """
    return ~(efficient | marked | (np.arange(len(efficient)) < most))


def crowd_shape(x: Floats, y: Floats, opacity: float) -> dict[str, Any] | None:
    """Return dots at all known points as one shape below the bubbles; None if no point is known.

    Args:
        x: float (n,), above 0, on a logarithmic axis.
        y: float (n,).
        opacity: of the dots.
    """
    known = np.isfinite(x) & np.isfinite(y) & (x > 0)
    if not known.any():
        return None
    logs = np.log10(x[known])
    half = DOT_SHARE * max(float(np.ptp(logs)), 0.1)
    starts, ends = 10 ** (logs - half), 10 ** (logs + half)
    path = "".join(
        f"M{start:.6g},{at:.6g}L{end:.6g},{at:.6g}" for start, end, at in zip(starts, ends, y[known], strict=True)
    )
    line = {"color": NEUTRAL_COLOR, "width": DOT_PX}
    return {"type": "path", "path": path, "line": line, "opacity": opacity, "layer": "below"}
