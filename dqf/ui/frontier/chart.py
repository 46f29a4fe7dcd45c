"""The frontier as a figure: bubbles with intervals, a staircase through the efficient ones, and the 3-D view."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from dqf.evaluate.pareto import pareto_mask, step_line
from dqf.ui import format as fmt
from dqf.ui.axes import LATENCY, SIZE, Axis, Floats
from dqf.ui.charts import LEGEND, MARGIN
from dqf.ui.frontier.crowd import crowd_mask, crowd_shape
from dqf.ui.theme import (
    BITS_SYMBOLS,
    FRONTIER_COLOR,
    GRID_COLOR,
    MIXED_SYMBOL,
    VARIANT_TITLES,
    WARNING_COLOR,
    faded,
    variant_color,
    variant_title,
)

MOST_BUBBLES = 150
"""Of more variants the newest so many are bubbles, and all efficient ones; the others are a crowd of dots."""
FRONTIER_MARGIN = {"l": 60, "r": 8, "t": 68, "b": 52}
"""In pixels. Fixed, and with room for two rows of legend: plotly draws everything again where letters need more."""
DOMINATED, INFEASIBLE = 0.4, 0.15
"""Opacities of points that another one beats, and of points outside the limits."""


def frontier(
    frame: pd.DataFrame,
    x: Axis,
    y: Axis,
    height: int = 480,
    bubble: bool = True,
    fits: npt.NDArray[np.bool_] | None = None,
    limit: float = np.inf,
    marked: tuple[str, str] | None = None,
    most_bubbles: int = MOST_BUBBLES,
) -> go.Figure:
    """Return the trade-off as bubbles with intervals and a staircase through the efficient ones.

    Args:
        frame: variants, newest first; every bubble carries its `key` as customdata.
        x: cost on the logarithmic axis.
        y: quality.
        height: in pixels.
        bubble: whether the cost that is not on x sets the area of the markers.
        fits: which variants hold all limits, bool (n,); the others nearly vanish.
        limit: on x, in the axis's unit.
        marked: key of the variant that gets a ring, and what the legend calls it.
        most_bubbles: of the newest; older ones that others beat are dots without hover text.
    """
    other = LATENCY if x is SIZE else SIZE
    costs, qualities = x.values(frame), y.values(frame)
    efficient = pareto_mask(costs, qualities)
    is_marked = (frame["key"] == marked[0]).to_numpy() if marked else np.zeros(len(frame), dtype=bool)
    crowd = crowd_mask(efficient, is_marked, most_bubbles)
    opacities = np.where(efficient, 0.95, DOMINATED)
    if fits is not None:
        opacities = np.where(fits, opacities, INFEASIBLE)
    sizes = diameters(other.values(frame)) if bubble else np.full(len(frame), 14.0)
    traces = _staircase(costs, qualities)
    shown = np.flatnonzero(~crowd)
    bubbles = _bubbles(frame, shown, x, y, other, {"size": sizes[shown], "opacity": opacities[shown]})
    for variant in in_order(frame["variant"]):
        traces.append(_legend_entry(variant))
        for opacity in (0.95, DOMINATED, INFEASIBLE):
            part = bubbles[(bubbles["variant"] == variant) & (bubbles["opacity"] == opacity)]
            if len(part):
                traces.append(_bubble_trace(part, variant, opacity))
    traces += [
        _ring(costs[at], qualities[at], sizes[at], marked[1] if marked else "") for at in np.flatnonzero(is_marked)
    ]
    dots = [
        crowd_shape(costs[part], qualities[part], opacity)
        for opacity in (DOMINATED, INFEASIBLE)
        if (part := crowd & (opacities == opacity)).any()
    ]
    shapes = [one for one in dots if one is not None]
    layout = {
        "height": height,
        "margin": FRONTIER_MARGIN,
        "legend": LEGEND,
        "hovermode": "closest",
        "uirevision": "frontier",
        "xaxis": {"type": "log", "title": {"text": x.label}, "automargin": False, **_log_ticks(costs)},
        "yaxis": {"title": {"text": y.label}, "automargin": False, "zeroline": False},
        "shapes": shapes,
    }
    if np.isfinite(limit):
        shapes.append(_limit_line(limit))
        layout["annotations"] = [_limit_text(limit, f"limit {limit:g} {x.unit}")]
    return go.Figure(traces, layout)  # plotly checks dicts once, but its own objects again when they are added


def _staircase(costs: Floats, qualities: Floats) -> list[dict[str, Any]]:
    """Return the line through the efficient points, which goes on to the right end; none without points."""
    steps_x, steps_y = step_line(costs, qualities)
    if not len(steps_x):
        return []
    return [
        {
            "type": "scatter",
            "x": [*steps_x, max(np.nanmax(costs), steps_x[-1])],
            "y": [*steps_y, steps_y[-1]],
            "mode": "lines",
            "line": {"shape": "hv", "width": 2, "dash": "dot", "color": FRONTIER_COLOR},
            "name": "Pareto frontier",
            "hoverinfo": "skip",
            "legendrank": 2000,
        }
    ]


def _ring(cost: float, quality: float, size: float, name: str) -> dict[str, Any]:
    """Return a ring around the point of the answer."""
    return {
        "type": "scatter",
        "x": [cost],
        "y": [quality],
        "mode": "markers",
        "name": name,
        "marker": {"symbol": "circle-open", "size": size + 14, "color": WARNING_COLOR, "line": {"width": 3}},
        "hoverinfo": "skip",
        "legendrank": 2001,
    }


def _limit_line(limit: float) -> dict[str, Any]:
    line = {"width": 1.5, "dash": "dash", "color": WARNING_COLOR}
    place = {"x0": limit, "x1": limit, "y0": 0, "y1": 1, "yref": "paper"}
    return {"type": "line", **place, "line": line, "layer": "below"}


def _limit_text(limit: float, text: str) -> dict[str, Any]:
    """Return what a limit is called; on a logarithmic axis plotly wants lines in values and texts in logarithms."""
    place = {"x": float(np.log10(limit)), "y": 0, "yref": "paper", "yanchor": "bottom", "xanchor": "left"}
    return {**place, "text": text, "showarrow": False}


def _legend_entry(variant: str) -> dict[str, Any]:
    """Return a trace without points, so that the legend shows the plain color and not a faded point."""
    return {
        "type": "scatter",
        "x": [None],
        "y": [None],
        "mode": "markers",
        "name": variant_title(variant),
        "legendgroup": variant,
        "marker": {"color": variant_color(variant), "size": 12},
        "hoverinfo": "skip",
    }


def _bubbles(
    frame: pd.DataFrame, rows: npt.NDArray[np.intp], x: Axis, y: Axis, other: Axis, style: Mapping[str, Floats]
) -> npt.NDArray[Any]:
    """Return what is drawn of some rows, as records: taking each trace's rows out of the table took longest."""
    used = {"key", "variant", "bits", "name", "task", "run_id", "verified", "n"}
    used |= {column for axis in (x, y, other) for column in (axis.column, axis.low, axis.high)}
    part = frame[[column for column in frame.columns if column in used]].iloc[rows]
    low, high = y.interval(part)
    columns = {
        "variant": part["variant"].to_numpy(dtype=object),
        "key": part["key"].to_numpy(dtype=object),
        "x": x.values(part),
        "y": y.values(part),
        "low": low,
        "high": high,
        "symbol": np.array([_symbol(bits) for bits in part["bits"]], dtype=object),
        "text": np.array(_hovers(part, x, y, other), dtype=object),
        **style,
    }
    records = np.empty(len(rows), dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        records[name] = values
    return records


def _symbol(bits: Any) -> str:
    return BITS_SYMBOLS.get(bits, MIXED_SYMBOL) if fmt.known(bits) else "circle"


def _bubble_trace(part: npt.NDArray[Any], variant: str, opacity: float) -> dict[str, Any]:
    color = variant_color(variant)
    symbols = part["symbol"].tolist()
    return {
        "type": "scatter",
        "x": part["x"],
        "y": part["y"],
        "mode": "markers",
        "name": variant_title(variant),
        "legendgroup": variant,
        "showlegend": False,
        "customdata": part["key"].tolist(),
        "marker": {
            "color": color,
            "opacity": opacity,
            "size": part["size"],
            "symbol": symbols[0] if len(set(symbols)) == 1 else symbols,
            "line": {"width": 1, "color": faded(color, 1.0)},
        },
        "error_y": {
            "type": "data",
            "array": np.maximum(part["high"] - part["y"], 0),
            "arrayminus": np.maximum(part["y"] - part["low"], 0),
            "color": faded(color, 0.6 * opacity),
            "thickness": 1.5,
            "width": 4,
        },
        "text": part["text"].tolist(),
        "hovertemplate": "%{text}<extra></extra>",
    }


def _hovers(part: pd.DataFrame, x: Axis, y: Axis, other: Axis) -> list[str]:
    """Return the hover texts; only the columns they use are turned into rows, which of thousands takes longest."""
    used = {"name", "task", "run_id", "verified", "n", y.low, y.high, x.column, y.column, other.column}
    rows = part[[column for column in part.columns if column in used]]
    return [_hover(row, x, y, other) for row in rows.to_dict("records")]


def _hover(row: Mapping[Any, Any], x: Axis, y: Axis, other: Axis) -> str:
    """Return the hover text; what users wrote is escaped because plotly reads tags."""
    interval = fmt.percent_interval(row.get(y.low), row.get(y.high))
    lines = [
        f"<b>{html.escape(str(row['name']))}</b>",
        html.escape(f"{row['task']} · run {row['run_id']}"),
        f"{y.title} {y.text(row[y.column])}" + (f" ({interval}, n {fmt.count(row.get('n'))})" if interval else ""),
        f"{x.title} {x.text(row[x.column])}",
        f"{other.title} {other.text(row[other.column])}",
        "Verified" if row["verified"] else "Not verified",
    ]
    return "<br>".join(lines)


def frontier_3d(frame: pd.DataFrame, y: Axis, height: int = 560) -> go.Figure:
    """Return size, latency and quality in space; the other view of the same points."""
    figure = go.Figure()
    for variant in in_order(frame["variant"]):
        part = frame[frame["variant"] == variant]
        figure.add_scatter3d(
            x=SIZE.values(part),
            y=LATENCY.values(part),
            z=y.values(part),
            mode="markers",
            name=variant_title(variant),
            marker={"size": 6, "color": variant_color(variant)},
            text=_hovers(part, SIZE, y, LATENCY),
            hovertemplate="%{text}<extra></extra>",
        )
    axes = {"gridcolor": GRID_COLOR, "showbackground": False}
    figure.update_layout(
        height=height,
        margin=MARGIN,
        legend=LEGEND,
        scene={
            "xaxis": {**axes, "type": "log", "title": SIZE.label, **_log_ticks(SIZE.values(frame))},
            "yaxis": {**axes, "type": "log", "title": LATENCY.label, **_log_ticks(LATENCY.values(frame))},
            "zaxis": {**axes, "title": y.label},
            "camera": {"eye": {"x": 1.35, "y": -1.35, "z": 0.6}, "center": {"x": 0, "y": 0, "z": -0.1}},
        },
        uirevision="3d",
    )
    return figure


def in_order(variants: pd.Series[Any]) -> list[str]:
    """Return the kinds of variant that are there, in the order of legends."""
    present = list(dict.fromkeys(variants))
    order = list(VARIANT_TITLES)
    return sorted(present, key=lambda name: (order.index(name) if name in order else len(order), str(name)))


def diameters(values: Floats, smallest: float = 10.0, largest: float = 40.0) -> Floats:
    """Return marker diameters whose area follows the logarithm of the values."""
    logs = np.log10(np.where(values > 0, values, np.nan))
    if not np.isfinite(logs).any():
        return np.full(len(values), smallest)
    low, high = np.nanmin(logs), np.nanmax(logs)
    share = np.full(len(values), 0.5) if high == low else (logs - low) / (high - low)
    area = smallest**2 + np.nan_to_num(share) * (largest**2 - smallest**2)
    return np.sqrt(area)


def _log_ticks(values: Floats) -> dict[str, Any]:
    """Return ticks at 1, 2, 5 of each decade, as plain numbers, with some room beside the outermost bubbles."""
    good = values[np.isfinite(values) & (values > 0)]
    if not len(good):
        return {}
    low, high = np.log10(good.min()) - 0.15, np.log10(good.max()) + 0.15
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    ticks = [step * 10.0**power for power in range(int(low) - 2, int(high) + 2) for step in steps]
    ticks = [tick for tick in ticks if low <= np.log10(tick) <= high]
    return {"range": [low, high], "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks], "zeroline": False}
