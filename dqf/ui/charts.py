"""The small figures: loss curves and bars; plain plotly built from tables."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dqf.ui.axes import Axis
from dqf.ui.theme import INTERVAL_COLOR, VARIANT_TITLES, variant_color

MARGIN = {"l": 8, "r": 8, "t": 16, "b": 8}
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "title": None, "itemsizing": "constant"}
CONFIG = {"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": "", "modeBarButtonsToRemove": ["toImage"]}


def loss_curves(curves: Mapping[str, Sequence[tuple[int, float]]], height: int = 260) -> go.Figure:
    """Return the training losses of a run, students overlaid in their colors."""
    figure = go.Figure()
    for stage, points in curves.items():
        if points:
            steps, losses = zip(*points, strict=True)
            figure.add_scatter(
                x=steps,
                y=losses,
                mode="lines" if len(points) > 1 else "markers",
                name=html.escape(VARIANT_TITLES.get(stage, stage)),
                line={"width": 2, "color": variant_color(stage)},
                hovertemplate="step %{x}: %{y:.4f}",
            )
    figure.update_layout(
        height=height, margin=MARGIN, legend=LEGEND, showlegend=True, hovermode="x unified", uirevision="loss"
    )
    longest = max((points[-1][0] for points in curves.values() if points), default=0)
    figure.update_xaxes(title="Step", rangemode="tozero", dtick=1 if longest <= 10 else None)
    figure.update_yaxes(title="Loss", rangemode="tozero", zeroline=False)
    return figure


def bars(frame: pd.DataFrame, axis: Axis, height: int | None = None) -> go.Figure:
    """Return one quantity of the chosen variants as labelled bars with intervals, first variant on top.

    What is below 0, as a correlation can be, points to the left.
    """
    values = axis.values(frame)
    low, high = axis.interval(frame)
    rows = list(range(len(frame)))
    ends = np.fmax(values, high)
    known = [one for one in (*ends, *np.fmin(values, low)) if np.isfinite(one)]
    least, largest = min([0.0, *known]), max([0.0, *known]) or 1.0
    figure = go.Figure()
    figure.add_bar(
        x=values,
        y=rows,
        orientation="h",
        marker_color=[variant_color(variant) for variant in frame["variant"]],
        error_x={
            "type": "data",
            "array": high - values,
            "arrayminus": values - low,
            "thickness": 1.5,
            "width": 4,
            "color": INTERVAL_COLOR,
        },
        text=[axis.text(value) for value in frame[axis.column]],
        textposition="none",
        customdata=[html.escape(label) for label in frame["label"]],
        hovertemplate="%{customdata}: %{text}<extra></extra>",
    )
    figure.add_scatter(
        x=ends + 0.03 * largest,
        y=rows,
        mode="text",
        text=[axis.text(value) for value in frame[axis.column]],
        textposition="middle right",
        hoverinfo="skip",
        cliponaxis=False,
    )
    figure.update_layout(height=height or 90 + 34 * len(frame), margin=MARGIN, showlegend=False, bargap=0.3)
    figure.update_xaxes(title=axis.label, range=[1.1 * least, 1.35 * largest], zeroline=False)
    figure.update_yaxes(
        tickvals=rows,
        ticktext=[html.escape(name) for name in _names(frame)],
        range=[len(frame) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
    )
    return figure


def _names(frame: pd.DataFrame) -> list[str]:
    """Return the variants' names, with the end of the run's id where two would be the same."""
    twice = frame["name"].duplicated(keep=False)
    ends = frame["key"].str.partition("/")[0].str.rpartition("-")[2]
    return list((frame["name"] + " · " + ends).where(twice, frame["name"]))
