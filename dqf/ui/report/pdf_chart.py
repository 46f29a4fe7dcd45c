"""The charts of a PDF report: points with intervals on a logarithmic axis, drawn as lines and circles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dqf.evaluate.pareto import pareto_mask, step_line
from dqf.ui.axes import Axis, Floats
from dqf.ui.scales import Scale
from dqf.ui.theme import VARIANT_TITLES, variant_color, variant_title

if TYPE_CHECKING:
    from fpdf import FPDF

Box = tuple[float, float, float, float]
GRID, AXIS, STEPS = (236, 238, 244), (91, 98, 114), (138, 144, 160)
RADIUS = 1.5


def scatter(page: FPDF, frame: pd.DataFrame, x: Axis, y: Axis, box: Box) -> None:
    """Draw cost against quality; each point has its row's number.

    Args:
        page: drawn on.
        frame: the rows.
        x: cost, logarithmic.
        y: quality.
        box: left, top, width and height in mm.
    """
    left, top, width, height = box
    page.set_font("body", "B", 8.5)
    page.set_text_color(26, 30, 43)
    page.text(left, top + 3, f"{x.title} against {y.title.lower()}")
    inner = (left + 11, top + 12, width - 13, height - 24)
    costs, values = x.values(frame), y.values(frame)
    low, high = y.interval(frame)
    known = np.isfinite(costs) & np.isfinite(values) & (costs > 0)
    if not known.any():
        page.set_font("body", "", 8)
        page.text(left, top + 12, "No row has both figures.")
        return
    low, high = np.where(np.isfinite(low), low, values), np.where(np.isfinite(high), high, values)
    across = Scale(np.log10(costs[known]), inner[0], inner[2], 0.06)
    up = Scale(np.concatenate((low[known], high[known])), inner[1] + inner[3], -inner[3], 0.06)
    _axes(page, x, y, inner, across, up)
    _steps(page, costs, values, across, up)
    efficient = pareto_mask(costs, values)
    for at in np.flatnonzero(known):
        place = across(float(np.log10(costs[at]))), up(float(values[at]))
        color = _rgb(variant_color(str(frame["variant"].iloc[at])), 1.0 if efficient[at] else 0.45)
        page.set_draw_color(*color)
        page.set_line_width(0.25)
        page.line(place[0], up(float(low[at])), place[0], up(float(high[at])))
        page.set_fill_color(*color)
        page.circle(place[0], place[1], RADIUS, style="F")
        page.set_font("body", "", 6)
        page.set_text_color(26, 30, 43)
        page.text(place[0] + RADIUS + 0.4, place[1] + 0.8, str(at + 1))
    _legend(page, frame, left, top + 8)


def _axes(page: FPDF, x: Axis, y: Axis, inner: Box, across: Scale, up: Scale) -> None:
    left, top, width, height = inner
    page.set_line_width(0.2)
    page.set_font("body", "", 6.5)
    page.set_text_color(*AXIS)
    for value in up.ticks():
        page.set_draw_color(*GRID)
        page.line(left, up(value), left + width, up(value))
        text = f"{value:g}"
        page.text(left - 1.5 - page.get_string_width(text), up(value) + 0.8, text)
    for value in across.decades():
        place, text = across(float(np.log10(value))), f"{value:g}"
        page.line(place, top, place, top + height)
        page.text(place - page.get_string_width(text) / 2, top + height + 3.5, text)
    page.text(left + width / 2 - page.get_string_width(x.label) / 2, top + height + 8, x.label)
    page.text(left - 10, top - 1.5, y.label)


def _steps(page: FPDF, costs: Floats, values: Floats, across: Scale, up: Scale) -> None:
    """Draw the staircase through the efficient points."""
    at_x, at_y = step_line(costs, values)
    page.set_draw_color(*STEPS)
    page.set_line_width(0.3)
    page.set_dash_pattern(dash=0.8, gap=0.8)
    for at in range(len(at_x)):
        end = at_x[at + 1] if at + 1 < len(at_x) else np.nanmax(costs)
        start_mm, end_mm = across(float(np.log10(at_x[at]))), across(float(np.log10(end)))
        page.line(start_mm, up(float(at_y[at])), end_mm, up(float(at_y[at])))
        if at + 1 < len(at_x):
            page.line(end_mm, up(float(at_y[at])), end_mm, up(float(at_y[at + 1])))
    page.set_dash_pattern()


def _legend(page: FPDF, frame: pd.DataFrame, left: float, top: float) -> None:
    order = list(VARIANT_TITLES)
    kinds = sorted(set(map(str, frame["variant"])), key=lambda kind: order.index(kind) if kind in order else 99)
    page.set_font("body", "", 6.5)
    page.set_text_color(*AXIS)
    for kind in kinds[:8]:
        page.set_fill_color(*_rgb(variant_color(kind), 1.0))
        page.circle(left + 13, top - 0.8, 1.0, style="F")
        page.text(left + 15, top, variant_title(kind)[:20])
        left += 6 + page.get_string_width(variant_title(kind)[:20])


def _rgb(color: str, opacity: float) -> tuple[int, int, int]:
    """Return a hex color as it looks on white paper."""
    parts = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    red, green, blue = (round(255 - (255 - part) * opacity) for part in parts)
    return red, green, blue
