"""The frontier as a picture: the first page shows it without plotly, whose code took two fifths of a first visit.

Places across are shares of the width, so the picture fits any screen while its letters keep their size; colors of
letters and lines are those of the page.
"""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd

from dqf.evaluate.pareto import pareto_mask, step_line
from dqf.ui import format as fmt
from dqf.ui.axes import LATENCY, SIZE, Axis, Floats
from dqf.ui.frontier.chart import DOMINATED, diameters, in_order
from dqf.ui.scales import Scale
from dqf.ui.theme import BITS_SYMBOLS, FRONTIER_COLOR, MIXED_SYMBOL, variant_color, variant_title

LARGEST_PX, SMALLEST_PX = 26.0, 9.0
SHAPES = {
    "circle": "circle(50%)",
    "square": "inset(8%)",
    "diamond": "polygon(50% 0, 100% 50%, 50% 100%, 0 50%)",
    "triangle-up": "polygon(50% 4%, 98% 90%, 2% 90%)",
    "x": "polygon(20% 0, 50% 30%, 80% 0, 100% 20%, 70% 50%, 100% 80%, 80% 100%, 50% 70%, 20% 100%, 0 80%, 30% 50%, "
    "0 20%)",
    "star": "polygon(50% 0, 61% 35%, 98% 35%, 68% 57%, 79% 91%, 50% 70%, 21% 91%, 32% 57%, 2% 35%, 39% 35%)",
}
"""What is left of a box of a color, by the names that plotly gives its marks. Streamlit takes SVG out of HTML."""


def picture(frame: pd.DataFrame, x: Axis, y: Axis, alt: str, height: int = 240) -> str:
    """Return cost against quality as HTML; every mark tells its figures when pointed at.

    Args:
        frame: variants of one run.
        x: cost, logarithmic.
        y: quality.
        alt: what those who cannot see it are told.
        height: of the plotting area, in pixels.
    """
    costs, values = x.values(frame), y.values(frame)
    low, high = y.interval(frame)
    known = np.isfinite(costs) & np.isfinite(values) & (costs > 0)
    if not known.any():
        return f"<p>No variant has both {html.escape(x.title.lower())} and {html.escape(y.title.lower())}.</p>"
    low, high = np.where(np.isfinite(low), low, values), np.where(np.isfinite(high), high, values)
    across = Scale(np.log10(costs[known]), 0.0, 100.0, 0.08)
    up = Scale(np.concatenate((low[known], high[known])), float(height), -float(height), 0.06)
    parts = [*_axes(x, y, across, up, height), *_steps(costs, values, across, up)]
    efficient = pareto_mask(costs, values)
    sizes = diameters((LATENCY if x is SIZE else SIZE).values(frame), SMALLEST_PX, LARGEST_PX)
    order = sorted(np.flatnonzero(known), key=lambda at: (efficient[at], -sizes[at]))
    for at in order:
        row = frame.iloc[at]
        opacity = 0.95 if efficient[at] else DOMINATED
        place = f"{across(float(np.log10(costs[at]))):.2f}%"
        ends = up(float(low[at])), up(float(high[at]))
        parts.append(_mark(row, _words(row, x, y), place, up(float(values[at])), ends, sizes[at], opacity))
    plot = f'<div style="position:relative;height:{height}px">{"".join(parts)}</div>'
    style = "padding:14px 6px 46px 46px;font-size:12px"
    return f'{_legend(frame)}<div role="img" aria-label="{html.escape(alt)}" style="{style}">{plot}</div>'


def _box(left: str, top: float, style: str, inside: str = "") -> str:
    """Return a box at a place of the plotting area."""
    return f'<div style="position:absolute;left:{left};top:{top:.1f}px;{style}">{inside}</div>'


def _axes(x: Axis, y: Axis, across: Scale, up: Scale, height: int) -> list[str]:
    parts = []
    for value in up.ticks():
        parts.append(_box("0", up(value), "width:100%;border-top:1px solid;opacity:.15"))
        parts.append(_box("-8px", up(value), "transform:translate(-100%,-50%);opacity:.75", f"{value:g}"))
    for value in across.decades():
        place = f"{across(float(np.log10(value))):.2f}%"
        parts.append(_box(place, height + 6, "transform:translateX(-50%);opacity:.75", f"{value:g}"))
    parts.append(_box("50%", height + 26, "transform:translateX(-50%)", html.escape(x.label)))
    turned = "transform:translate(-50%,-50%) rotate(-90deg);white-space:nowrap"
    parts.append(_box("-36px", height / 2, turned, html.escape(y.label)))
    return parts


def _steps(costs: Floats, values: Floats, across: Scale, up: Scale) -> list[str]:
    """Return the staircase through the efficient points."""
    at_x, at_y = step_line(costs, values)
    ends = [*at_x[1:], max(np.nanmax(costs), at_x[-1])]
    line = f"2px dotted {FRONTIER_COLOR}"
    parts = []
    for at, (start, end) in enumerate(zip(at_x, ends, strict=True)):
        left, right, level = across(float(np.log10(start))), across(float(np.log10(end))), up(float(at_y[at]))
        parts.append(_box(f"{left:.2f}%", level - 1, f"width:{right - left:.2f}%;border-top:{line}"))
        if at + 1 < len(at_x):
            top = up(float(at_y[at + 1]))
            parts.append(_box(f"{right:.2f}%", top, f"height:{level - top:.1f}px;border-left:{line}"))
    return parts


def _mark(
    row: pd.Series[Any], words: str, place: str, level: float, ends: tuple[float, float], size: float, opacity: float
) -> str:
    """Return a mark and its interval."""
    color = f"background:{variant_color(str(row['variant']))};opacity:{opacity};transform:translate(-50%,{{}})"
    symbol = BITS_SYMBOLS.get(row["bits"], MIXED_SYMBOL) if fmt.known(row["bits"]) else "circle"
    bar = _box(place, ends[1], f"width:1.5px;height:{ends[0] - ends[1]:.1f}px;{color.format('0')}")
    shape = f"width:{size:.1f}px;height:{size:.1f}px;clip-path:{SHAPES[symbol]};{color.format('-50%')}"
    mark = _box(place, level, shape).replace("<div ", f'<div title="{html.escape(words)}" ', 1)
    return bar + mark


def _words(row: pd.Series[Any], x: Axis, y: Axis) -> str:
    """Return what a mark tells: name and both figures."""
    interval = fmt.percent_interval(row.get(y.low), row.get(y.high))
    return f"{row['name']}: {x.title.lower()} {x.text(row[x.column])}, {y.title.lower()} {y.text(row[y.column])}" + (
        f" ({interval})" if interval else ""
    )


def _legend(frame: pd.DataFrame) -> str:
    dot = "display:inline-block;width:10px;height:10px;border-radius:50%;margin-right:6px"
    entries = "".join(
        f'<span style="white-space:nowrap"><span style="{dot};background:{variant_color(kind)}"></span>'
        f"{html.escape(variant_title(kind))}</span>"
        for kind in in_order(frame["variant"])
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:2px 16px;font-size:13px">{entries}</div>'
