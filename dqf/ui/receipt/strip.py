"""The heat strip of a receipt: transformer layers from left to right, roles within a layer from top to bottom."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dqf.ui import format as fmt
from dqf.ui.axes import Floats, numbers
from dqf.ui.charts import LEGEND, MARGIN
from dqf.ui.receipt import facts as receipts
from dqf.ui.theme import ERROR_SCALE, NEUTRAL_COLOR, WARNING_COLOR

ROW_PX = 24
AROUND_PX = 156
BELOW_PX = 88
HOVER_WIDTH = 44
MARK = "triangle-up"
INK = "#1a1e2b"
"""Of what stands on amber and grey cells, in both themes."""


@dataclass(frozen=True)
class Measure:
    """What the color of a cell says; the ends are fixed, so that strips can be compared.

    Attributes:
        title: what people pick and read.
        column: of `receipts.table`.
        ticks: values named beside the color scale, from one end to the other.
        texts: what they are called.
    """

    title: str
    column: str
    ticks: Sequence[float]
    texts: Sequence[str]


RATIO = Measure("× round-to-nearest", "ratio", (0.03, 0.1, 0.3, 1.0), ("≤ 0.03×", "0.1×", "0.3×", "1×"))
ERROR = Measure("Relative error", "error", (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1), ("≤ 0.001 %", "", "0.1 %", "", "10 %", ""))
MEASURES = {measure.title: measure for measure in (RATIO, ERROR)}


def strip(frame: pd.DataFrame, measure: Measure) -> go.Figure:
    """Return the layers as cells: colored by `measure`, amber with a mark where the method was no help.

    Args:
        frame: `receipts.table`; a cell shows its bits where layers differ in bits.
        measure: what the color says.
    """
    roles = list(dict.fromkeys(frame["role"]))
    columns = sorted(set(frame["column"]))
    bits = receipts.mixed_bits(frame)
    problem = frame["outcome"].isin(receipts.PROBLEMS)
    by_design = frame["outcome"] == receipts.BY_DESIGN
    values = numbers(frame, measure.column)
    levels = np.log10(np.where(values > 0, values, np.nan))
    known = ~problem & ~by_design
    figure = go.Figure()
    kinds = (
        (known & np.isfinite(levels), levels, _color_axis(measure)),
        ((known & ~np.isfinite(levels)) | by_design, np.ones(len(frame)), _one_color(NEUTRAL_COLOR)),
        (problem, np.ones(len(frame)), _one_color(WARNING_COLOR)),
    )
    for rows, z, colors in kinds:
        if rows.any():
            figure.add_heatmap(**_cells(frame, rows.to_numpy(dtype=bool), z, roles, columns, bits), **colors)
    if problem.any():
        figure.add_trace(_marks(frame[problem], roles, columns, bits))
        figure.add_trace(_legend_entry("Lost to round-to-nearest, or fell back", WARNING_COLOR, MARK))
    if by_design.any():
        figure.add_trace(_legend_entry("Rounded by design", NEUTRAL_COLOR, "square"))
    figure.update_layout(
        height=AROUND_PX + ROW_PX * len(roles),
        margin={**MARGIN, "b": BELOW_PX},
        legend=LEGEND,
        showlegend=True,
        dragmode=False,
        hovermode="closest",
    )
    figure.update_xaxes(
        title={"text": "Transformer layer", "standoff": 10},
        tickangle=0,
        range=[-0.5, len(columns) - 0.5],
        showgrid=False,
        zeroline=False,
        fixedrange=True,
        **_layer_ticks(frame, columns),
    )
    figure.update_yaxes(
        tickvals=list(range(len(roles))),
        ticktext=[html.escape(role) for role in roles],
        range=[len(roles) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    return figure


def _cells(
    frame: pd.DataFrame, rows: np.ndarray[Any, Any], z: Floats, roles: list[str], columns: list[int], bits: bool
) -> dict[str, Any]:
    """Return a heatmap with the given rows of the receipt; all other cells are empty."""
    shape = (len(roles), len(columns))
    levels = np.full(shape, np.nan)
    hover = np.full(shape, "", dtype=object)
    text = np.full(shape, "", dtype=object)
    for at in np.flatnonzero(rows):
        row = frame.iloc[at]
        cell = (roles.index(row["role"]), columns.index(row["column"]))
        levels[cell] = z[at]
        hover[cell] = _hover(row)
        text[cell] = f"{row['bits']:g}" if bits and fmt.known(row["bits"]) else ""
    gap = 2 if len(columns) <= 16 else 1
    cells = {"z": levels, "xgap": gap, "ygap": gap, "hoverongaps": False}
    cells |= {"hovertext": hover, "hovertemplate": "%{hovertext}<extra></extra>"}
    return cells | ({"text": text, "texttemplate": "%{text}"} if bits else {})


def _color_axis(measure: Measure) -> dict[str, Any]:
    ends = np.log10([measure.ticks[0], measure.ticks[-1]])
    return {
        "zmin": ends[0],
        "zmax": ends[1],
        "colorscale": [list(stop) for stop in ERROR_SCALE],
        "colorbar": {
            "orientation": "h",
            "thickness": 8,
            "lenmode": "pixels",
            "len": 170,
            "x": 0.5,
            "xanchor": "center",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "ypad": 6,
            "outlinewidth": 0,
            "tickvals": np.log10(measure.ticks),
            "ticktext": list(measure.texts),
        },
    }


def _one_color(color: str) -> dict[str, Any]:
    return {
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, color], [1, color]],
        "showscale": False,
        "textfont": {"color": INK},
    }


def _marks(part: pd.DataFrame, roles: list[str], columns: list[int], bits: bool) -> go.Scatter:
    """Return the marks that say without color what amber says; beside the bits where these are shown."""
    right, up = (0.3, 0.15) if bits else (0.0, 0.0)
    return go.Scatter(
        x=[columns.index(column) + right for column in part["column"]],
        y=[roles.index(role) - up for role in part["role"]],
        mode="markers",
        marker={"symbol": MARK, "size": 7 if bits else 9, "color": INK},
        hoverinfo="skip",
        showlegend=False,
    )


def _legend_entry(name: str, color: str, symbol: str) -> go.Scatter:
    marker = {"symbol": symbol, "color": color, "size": 11}
    return go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, hoverinfo="skip")


def _layer_ticks(frame: pd.DataFrame, columns: list[int]) -> dict[str, Any]:
    """Return ticks at every layer, or every fifth of many, and at what lies before and after the stack."""
    inside = set(frame["column"][frame["depth"].notna()])
    step = 1 if len(inside) <= 14 else 5
    names = ["in" if column == -1 else "out" if column not in inside else f"{column}" for column in columns]
    every = [column for column in columns if column in inside and column % step == 0 and (column or step == 1)]
    named = [at for at, column in enumerate(columns) if column not in inside or column in every]
    return {"tickvals": named, "ticktext": [names[at] for at in named]}


def _hover(row: Mapping[Any, Any] | pd.Series[Any]) -> str:
    """Return the hover text; what stands in the file is escaped because plotly reads tags."""
    of = {"output": " of the output", "weight": " of the weight"}.get(row["error_of"], "")
    lines = [
        f"<b>{html.escape(row['label'])}</b>",
        html.escape(f"{receipts.method_title(row['method'])}, {fmt.bits(row['bits'])}"),
        f"error {fmt.share(row['error'])}{of}",
        f"round-to-nearest {fmt.share(row['error_rtn'])} ({fmt.times(row['ratio'])})",
        f"{fmt.count(row['calibration_tokens'])} calibration tokens",
    ]
    if row["fallback"]:
        lines += [html.escape(line) for line in textwrap.wrap(row["fallback"][:300], HOVER_WIDTH)]
    return "<br>".join(lines)
