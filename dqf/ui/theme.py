"""Colors, symbols and names of things that appear on more than one page.

The colors have a contrast of at least 3:1 against the light and the dark background, so one map
serves both. Warm colors learnt from hard labels, cool ones from the teacher; the stronger of each
pair is the quantized one.
"""

from __future__ import annotations

VARIANT_TITLES = {
    "teacher": "Teacher",
    "student-ft": "Student-FT",
    "student-kd": "Student-KD",
    "student-ptq": "Student-PTQ",
    "student-dqf": "Student-DQF",
}
VARIANT_COLORS = {
    "teacher": "#7b8494",
    "student-ft": "#b97a00",
    "student-kd": "#129a8b",
    "student-ptq": "#dd4b39",
    "student-dqf": "#5b6cf0",
}
OTHER_COLOR = "#a0522d"
SERIES_COLORS = ("#5b6cf0", "#b97a00", "#129a8b", "#dd4b39", "#a04fb5", "#3d8b37", "#c2548c", "#7b8494")
"""Of series that are no kinds of variant, in this order."""
FRONTIER_COLOR = "#8a90a0"
INTERVAL_COLOR = "#6b7180"
GRID_COLOR = "#8f95a3"
"""Of the 3-D view: opaque, as WebGL draws see-through lines white."""
ERROR_SCALE = ((0.0, "#62cbb4"), (0.5, "#3f8bd0"), (1.0, "#7335a5"))
"""Of heat strips, small error to large: lightness falls steadily, and both ends show on both backgrounds."""
WARNING_COLOR = "#f0a202"
"""Of what needs a look: in no scale and no variant's color."""
NEUTRAL_COLOR = "#8d94a3"
BITS_SYMBOLS = {16: "circle", 8: "square", 4: "diamond", 3: "triangle-up", 2: "x"}
MIXED_SYMBOL = "star"

STATES = {
    "queued": (":material/schedule:", "gray"),
    "running": (":material/sync:", "blue"),
    "cancelling": (":material/hourglass_top:", "orange"),
    "succeeded": (":material/check_circle:", "green"),
    "failed": (":material/error:", "red"),
    "cancelled": (":material/cancel:", "gray"),
    "interrupted": (":material/power_off:", "orange"),
}
"""Icon and color of each run state."""

STATE_MARKS = {
    "queued": "○ queued",
    "running": "◐ running",
    "cancelling": "◌ cancelling",
    "succeeded": "● succeeded",
    "failed": "✕ failed",
    "cancelled": "⊘ cancelled",
    "interrupted": "◒ interrupted",
}
"""States for table cells, which take text only."""

STAGES = {
    "waiting": (":material/radio_button_unchecked:", "gray"),
    "running": (":material/sync:", "blue"),
    "done": (":material/check_circle:", "green"),
    "failed": (":material/error:", "red"),
    "cancelled": (":material/cancel:", "gray"),
}
"""Icon and color of each stage status."""


def variant_title(variant: str) -> str:
    """Return the name of a kind of variant as people read it."""
    return VARIANT_TITLES.get(variant, variant)


def variant_color(variant: str) -> str:
    """Return the one color of a kind of variant."""
    return VARIANT_COLORS.get(variant, OTHER_COLOR)


def faded(color: str, opacity: float) -> str:
    """Return a hex color as rgba."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
