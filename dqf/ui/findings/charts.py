"""Charts of a study; pure plotly over `dqf.ui.findings.tables`."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dqf.ui.axes import numbers
from dqf.ui.charts import LEGEND, MARGIN
from dqf.ui.findings import tables
from dqf.ui.theme import BITS_SYMBOLS, INTERVAL_COLOR, MIXED_SYMBOL, NEUTRAL_COLOR, variant_color, variant_title

LOSS_COLOR = "#dd4b39"
GAIN_COLOR = "#129a8b"
SYMBOLS = {str(bits): symbol for bits, symbol in BITS_SYMBOLS.items()}
GROUP_GAP = 0.4
"""Between groups of places on an axis, in places."""
DASHES = {"16": "solid", "8": "dash", "4": "solid", "3": "dashdot", "2": "dot"}


def decomposition(rows: pd.DataFrame, teacher: float, student: float) -> go.Figure:
    """Return the way from the teacher's score to Student-DQF's, step by step, with intervals.

    Args:
        rows: `decomposition_table` of one bit-width.
        teacher: its macro score in percent.
        student: Student-DQF's.
    """
    parts = rows[rows["part"] != "total"].reset_index(drop=True)
    names = ["Teacher", *parts["name"], "Student-DQF"]
    levels = [teacher, *(teacher - parts["value"].cumsum()), student]
    start = max(0.0, min(levels) - max(4.0, 1.5 * (max(levels) - min(levels))))
    figure = go.Figure()
    for name, value in ((names[0], teacher), (names[-1], student)):
        figure.add_bar(
            x=[value - start],
            y=[name],
            base=[start],
            orientation="h",
            marker_color=variant_color(name.lower()),
            text=[f"{value:.1f}"],
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"{name}: {value:.2f} %<extra></extra>",
        )
    for at, row in enumerate(parts.to_dict("records")):
        known = pd.notna(row["low"]) and pd.notna(row["high"])
        figure.add_bar(
            x=[-row["value"]],
            y=[row["name"]],
            base=[levels[at]],
            orientation="h",
            marker_color=LOSS_COLOR if row["value"] > 0 else GAIN_COLOR,
            error_x={
                "type": "data",
                "array": [row["value"] - row["low"] if known else 0],
                "arrayminus": [row["high"] - row["value"] if known else 0],
                "color": INTERVAL_COLOR,
                "thickness": 1.5,
                "width": 5,
            },
            hovertemplate=f"{html.escape(row['name'])}: {-row['value']:+.2f} points<extra></extra>",
        )
        right = max(levels[at], levels[at + 1], levels[at] - row["low"] if known else levels[at])
        text = f"{-row['value']:+.1f}".replace("-", "\u2212")
        figure.add_annotation(x=right, y=row["name"], text=text, showarrow=False, xanchor="left", xshift=6)
    figure.update_layout(height=380, margin=MARGIN, showlegend=False, bargap=0.35)
    width = max(levels) - start
    figure.update_xaxes(
        title=f"Macro score (%), axis from {start:.0f}", range=[start, max(levels) + 0.18 * width], zeroline=False
    )
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], automargin=True, showgrid=False)
    return figure


def by_bits(part: Mapping[str, Any]) -> go.Figure:
    """Return score over bit-width for the plain and the distilled student, the teacher as a line."""
    order = ["16", *part["bits"]]
    ticks = [tables.bits_title(bits) for bits in order]
    figure = go.Figure()
    for names in (("student-ft", "student-ptq"), ("student-kd", "student-dqf")):
        found = [
            (order.index(str(row["bits"])), row)
            for row in part["variants"]
            if row["variant"] in names and str(row["bits"]) in order
        ]
        found.sort(key=lambda pair: pair[0])
        score, low, high = (
            [100 * float(row["score"] if row.get(key) is None else row[key]) for _, row in found]
            for key in ("score", "score_ci95_low", "score_ci95_high")
        )
        shift = -0.06 if names[0] == "student-ft" else 0.06
        figure.add_scatter(
            x=[at + shift for at, _ in found],
            y=score,
            mode="lines+markers",
            name=f"{variant_title(names[0])} → {variant_title(names[1])}",
            marker={"size": 9, "color": variant_color(names[1])},
            line={"width": 2, "color": variant_color(names[1])},
            error_y={
                "type": "data",
                "array": [top - value for top, value in zip(high, score, strict=True)],
                "arrayminus": [value - bottom for bottom, value in zip(low, score, strict=True)],
                "color": variant_color(names[1]),
                "thickness": 1.5,
                "width": 4,
            },
            hovertemplate="%{y:.2f} %<extra>%{fullData.name}</extra>",
        )
    teacher = tables.figures(part, "teacher")
    if teacher is not None:
        figure.add_hline(
            y=100 * float(teacher["score"]),
            line={"color": variant_color("teacher"), "width": 2, "dash": "dash"},
            annotation_text="Teacher",
            annotation_position="top right",
        )
    figure.update_layout(height=380, margin=MARGIN, legend=LEGEND, showlegend=True)
    figure.update_xaxes(
        tickvals=list(range(len(order))), ticktext=ticks, range=[-0.4, len(order) - 0.6], showgrid=False, zeroline=False
    )
    figure.update_yaxes(title="Macro score (%)", zeroline=False)
    return figure


def retention_by_task(rows: Sequence[Mapping[str, Any]], title: str, variant: str) -> go.Figure:
    """Return the share of the teacher's score kept on each task with its interval, 100 % marked.

    A task whose teacher scores 0 or less has its line, and no point.
    """
    at = list(range(len(rows)))
    frame = pd.DataFrame(rows)
    kept = 100 * numbers(frame, "retention")
    low, high = 100 * numbers(frame, "retention_ci95_low"), 100 * numbers(frame, "retention_ci95_high")
    figure = go.Figure()
    figure.add_vline(x=100, line={"color": NEUTRAL_COLOR, "width": 1, "dash": "dot"})
    figure.add_scatter(
        x=kept,
        y=at,
        mode="markers",
        name=title,
        marker={"size": 11, "color": variant_color(variant)},
        error_x={
            "type": "data",
            "array": high - kept,
            "arrayminus": kept - low,
            "color": INTERVAL_COLOR,
            "thickness": 1.5,
            "width": 4,
        },
        hovertemplate="%{x:.1f} % of the teacher<extra></extra>",
    )
    ends = np.concatenate([low, high, kept, [100.0]])
    pad = 0.05 * float(np.nanmax(ends) - np.nanmin(ends)) + 0.5
    figure.update_layout(height=110 + 30 * len(rows), margin=MARGIN, showlegend=False)
    figure.update_xaxes(
        title="Retention (% of the teacher's score)",
        range=[float(np.nanmin(ends)) - pad, float(np.nanmax(ends)) + pad],
        zeroline=False,
    )
    figure.update_yaxes(
        tickvals=at,
        ticktext=[html.escape(str(row["task"])) for row in rows],
        range=[len(rows) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
        zeroline=False,
    )
    return figure


def setting(rows: pd.DataFrame, title: str) -> go.Figure:
    """Return the score of the chosen systems over the values of a setting, with intervals.

    Where other settings were varied too, their values stand next to each other within each value of this one.

    Args:
        rows: `setting_rows` of the systems to show.
        title: of the setting.
    """
    rows = rows.sort_values("order", kind="stable")
    places = _places(rows)
    systems = list(dict.fromkeys(rows["system"]))
    grouped = rows["beside"].nunique() > 1
    # Methods are no steps of a scale.
    joined = not grouped and all(re.fullmatch(r"[\d.]+", value) for value in rows["value"])
    figure = go.Figure()
    for at, name in enumerate(systems):
        part = rows[rows["system"] == name]
        score, low, high = (numbers(part, column) for column in ("score", "low", "high"))
        color, bits = variant_color(str(part["variant"].iloc[0])), str(part["bits"].iloc[0])
        shift = 0.5 * ((at + 0.5) / len(systems) - 0.5)
        figure.add_scatter(
            x=[places[pair] + shift for pair in zip(part["value"], part["beside"], strict=True)],
            y=score,
            mode="lines+markers" if joined else "markers",
            name=html.escape(str(part["name"].iloc[0])),
            marker={"size": 9, "color": color, "symbol": SYMBOLS.get(bits, MIXED_SYMBOL)},
            line={"width": 2, "color": color, "dash": DASHES.get(bits, "dot")},
            error_y={
                "type": "data",
                "array": high - score,
                "arrayminus": score - low,
                "color": color,
                "thickness": 1.5,
                "width": 4,
            },
            customdata=[html.escape(str(value)) for value in part["condition"]],
            hovertemplate="%{customdata}: %{y:.2f} %<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(height=380, margin=MARGIN, legend=LEGEND, showlegend=True)
    figure.update_xaxes(
        title=html.escape(f"{rows['beside_title'].iloc[0]}, within {title.lower()}" if grouped else title),
        title_standoff=44 if grouped else None,
        tickvals=list(places.values()),
        ticktext=[html.escape(beside if grouped else value) for value, beside in places],
        range=[-0.5, max(places.values()) + 0.5],
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(title="Macro score (%)", zeroline=False)
    if grouped:
        _name_groups(figure, places)
    return figure


def _places(rows: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return where on the axis each pair of value and beside of `setting_rows` stands, groups set apart."""
    there = set(zip(rows["value"], rows["beside"], strict=True))
    inner = list(dict.fromkeys(rows["beside"]))
    places: dict[tuple[str, str], float] = {}
    at = 0.0
    for value in dict.fromkeys(rows["value"]):
        for beside in inner:
            if (value, beside) in there:
                places[value, beside] = at
                at += 1
        at += GROUP_GAP if len(inner) > 1 else 0
    return places


def _name_groups(figure: go.Figure, places: Mapping[tuple[str, str], float]) -> None:
    """Write the value that each group of places shares below it, and draw a line between groups."""
    last = None
    for value in dict.fromkeys(value for value, _ in places):
        inside = [at for (one, _), at in places.items() if one == value]
        figure.add_annotation(
            x=sum(inside) / len(inside),
            y=0,
            yref="paper",
            yanchor="top",
            yshift=-24,
            showarrow=False,
            text=f"<b>{html.escape(value)}</b>",
        )
        if last is not None:
            figure.add_vline((last + inside[0]) / 2, line={"width": 1, "color": NEUTRAL_COLOR, "dash": "dot"})
        last = inside[-1]
