"""Confidence bars of the Playground: one bar per variant, divided by class; or one point per variant for numbers."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from dqf.ui.charts import LEGEND, MARGIN
from dqf.ui.playground.answers import OTHER, Said, name_of, top_classes
from dqf.ui.theme import NEUTRAL_COLOR, SERIES_COLORS, variant_color

ROW_HEIGHT = 42
NARROWEST_LABEL = 0.09


def confidence_bars(said: Sequence[Said], names: Sequence[str]) -> go.Figure:
    """Return each variant's probabilities for the one text it was asked, first variant on top."""
    rows = list(range(len(said)))
    figure = go.Figure()
    classes = top_classes(said)
    parts = [
        (name_of(at, names), [one.probabilities[0][at] for one in said], SERIES_COLORS[place % len(SERIES_COLORS)])
        for place, at in enumerate(classes)
    ]
    if len(classes) < said[0].logits.shape[1]:
        rest = [1 - sum(one.probabilities[0][at] for at in classes) for one in said]
        parts.append((OTHER, rest, NEUTRAL_COLOR))
    for name, shares, color in parts:
        figure.add_bar(
            x=[100 * share for share in shares],
            y=rows,
            orientation="h",
            name=html.escape(name),
            marker={"color": color, "line": {"width": 0}},
            text=[f"{100 * share:.0f} %" if share >= NARROWEST_LABEL else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": "#ffffff"},
            customdata=[html.escape(one.name) for one in said],
            hovertemplate="%{customdata}: %{x:.1f} %",
        )
    figure.update_layout(barmode="stack", showlegend=True)
    figure.update_xaxes(title="Probability (%)", range=[0, 101], tickvals=[0, 25, 50, 75, 100], zeroline=False)
    return _by_variant(figure, said)


def numbers(said: Sequence[Said]) -> go.Figure:
    """Return each variant's number for the one text it was asked."""
    figure = go.Figure()
    values = [float(one.predictions[0]) for one in said]
    figure.add_bar(
        x=values,
        y=list(range(len(said))),
        orientation="h",
        marker={"color": [variant_color(one.variant) for one in said]},
        text=[f"{value:.2f}" for value in values],
        textposition="auto",
        customdata=[html.escape(one.name) for one in said],
        hovertemplate="%{customdata}: %{x:.3f}<extra></extra>",
    )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title="Prediction", zeroline=True)
    return _by_variant(figure, said)


def _by_variant(figure: go.Figure, said: Sequence[Said]) -> go.Figure:
    figure.update_layout(
        height=110 + ROW_HEIGHT * len(said),
        margin=MARGIN,
        legend={**LEGEND, "traceorder": "normal"},
        bargap=0.25,
        uirevision="playground",
    )
    figure.update_yaxes(
        tickvals=list(range(len(said))),
        ticktext=[html.escape(one.name) for one in said],
        range=[len(said) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
    )
    return figure
