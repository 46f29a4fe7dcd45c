"""How numbers read: one place for units, digits and the dash that stands for "not known".

MB means 1e6 bytes. The minus sign and × are the typographic ones.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

UNKNOWN = "–"
NBSP = "\u00a0"
"""Between a number and its unit, so that no line breaks there."""


def known(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    try:
        return value is not None and math.isfinite(value)
    except TypeError:
        return False


def significant(value: Any, digits: int = 3) -> str:
    """Return a number with so many significant digits, never in scientific notation."""
    if not known(value):
        return UNKNOWN
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{decimals}f}".replace(",", "\u202f").replace("-", "\u2212")


def size(value: Any) -> str:
    """Return bytes as MB, or GB from 1e9 on."""
    if not known(value):
        return UNKNOWN
    unit, per_unit = ("GB", 1e9) if abs(value) >= 1e9 else ("MB", 1e6)
    return f"{significant(value / per_unit)}{NBSP}{unit}"


def milliseconds(value: Any) -> str:
    """Return a time in ms with 3 significant digits."""
    return f"{significant(value)}{NBSP}ms" if known(value) else UNKNOWN


def times(value: Any) -> str:
    """Return a ratio such as `14.3×`."""
    return f"{significant(value)}×" if known(value) else UNKNOWN


def percent(value: Any, decimals: int = 1) -> str:
    """Return a share (0..1) as a percentage."""
    return f"{100 * value:.{decimals}f}{NBSP}%".replace("-", "\u2212") if known(value) else UNKNOWN


def p_value(value: Any) -> str:
    """Return a p-value as people read it."""
    if not known(value):
        return UNKNOWN
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def share(value: Any) -> str:
    """Return a share (0..1) that may be tiny as a percentage with 3 significant digits."""
    return f"{significant(100 * value)}{NBSP}%" if known(value) else UNKNOWN


def points(value: Any) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}{NBSP}pp".replace("-", "\u2212") if known(value) else UNKNOWN


def count(value: Any) -> str:
    """Return a count, from ten thousand on as k, M or B."""
    if not known(value):
        return UNKNOWN
    for unit_value, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(unit_value, 1e4):
            return f"{significant(value / unit_value)} {unit}"
    return f"{value:,.0f}".replace(",", "\u202f")


def plural(number: int, word: str) -> str:
    """Return `1 file`, `3 files`."""
    many = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{count(number)} {word if number == 1 else many}"


def percent_interval(low: Any, high: Any) -> str:
    """Return a 95 % interval of a share, empty if it is not known."""
    return f"95 % CI {100 * low:.1f}–{100 * high:.1f} %" if known(low) and known(high) else ""


def times_interval(low: Any, high: Any) -> str:
    """Return a 95 % interval of a ratio, empty if it is not known."""
    return f"95 % CI {significant(low)}–{significant(high)}×" if known(low) and known(high) else ""


def duration(seconds: Any) -> str:
    """Return a time span in the two largest units that matter."""
    if not known(seconds):
        return UNKNOWN
    whole = max(0, round(seconds))
    if seconds < 0.1:
        return "< 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def about(seconds: Any) -> str:
    """Return an estimated time span, rounded so that it does not promise too much."""
    if not known(seconds):
        return UNKNOWN
    if seconds < 90:
        return f"{max(10, round(seconds / 10) * 10)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def moment(value: Any) -> str:
    """Return a UTC time as `2026-11-22 14:30`; naive times are UTC."""
    if not isinstance(value, datetime) or value != value:  # NaT is a datetime and not equal to itself
        return UNKNOWN
    utc = value.astimezone(UTC) if value.tzinfo else value
    return f"{utc:%Y-%m-%d %H:%M}"


def plain(text: Any) -> str:
    """Return a text so that Markdown shows it as it is: labels of pills are Markdown, and its images are fetched."""
    return re.sub(r"([\\`*_\[\]<>#~:$&])", r"\\\1", str(text))


def bits(value: Any) -> str:
    """Return `4-bit`, or `FP16` for a file that was not quantized."""
    if not known(value):
        return UNKNOWN
    return "FP16" if value == 16 else f"{value:g}-bit"


def short_path(path: Path) -> str:
    """Return a path relative to the folder the app was started in, where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
