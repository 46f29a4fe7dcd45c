"""Scores of the chosen variants task by task, as bars with intervals."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dqf.ui.axes import numbers
from dqf.ui.charts import MARGIN
from dqf.ui.theme import INTERVAL_COLOR, variant_color


def by_task(rows: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per task and chosen variant, tasks in order of first appearance.

    Args:
        rows: the variants, with key, name and variant.
        scores: `dqf.store.queries.scores`.
    """
    keyed = scores.assign(key=scores["run_id"] + "/" + scores["variant_id"]).drop(columns=["variant", "bits"])
    found = rows[["key", "name", "label", "variant"]].merge(keyed, on="key")
    order = {task: at for at, task in enumerate(dict.fromkeys(found["task"]))}
    return found.sort_values("task", key=lambda column: column.map(order), kind="stable").reset_index(drop=True)


def _heading(task: str, part: pd.DataFrame) -> str:
    """Return a task with its metric and how many examples were scored, fewest to most of these variants."""
    metrics = html.escape(" or ".join(dict.fromkeys(part["metric"].astype(str))))
    counts = sorted({int(n) for n in part["n"].dropna()})
    n = f", n {counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''}" if counts else ""
    return f"<b>{html.escape(task)}</b> · {metrics}{n}"


def task_bars(frame: pd.DataFrame) -> go.Figure:
    """Return `by_task` as bars under a heading per task.

    Metrics below 0 (a correlation can be) point to the left.
    """
    values = 100 * numbers(frame, "value")
    low, high = 100 * numbers(frame, "ci95_low"), 100 * numbers(frame, "ci95_high")
    least = float(np.nanmin([*values, *low, 0.0]))
    twice = frame.duplicated(["task", "name"], keep=False)
    names = frame["label"].where(twice, frame["name"])
    figure = go.Figure()
    places: list[float] = []
    at, task = -1.0, ""
    for row in frame.to_dict("records"):
        if row["task"] != task:
            at += 1.0 if not task else 1.5
            task = str(row["task"])
            figure.add_annotation(
                x=0,
                y=at - 0.1,
                xref="paper",
                text=_heading(task, frame[frame["task"] == task]),
                showarrow=False,
                xanchor="left",
            )
        at += 1.0
        places.append(at)
    figure.add_bar(
        x=values,
        y=places,
        orientation="h",
        width=0.7,
        marker_color=[variant_color(str(variant)) for variant in frame["variant"]],
        error_x={
            "type": "data",
            "array": high - values,
            "arrayminus": values - low,
            "thickness": 1.5,
            "width": 4,
            "color": INTERVAL_COLOR,
        },
        customdata=[html.escape(label) for label in frame["label"]],
        hovertemplate="%{customdata}: %{x:.1f}<extra></extra>",
    )
    figure.add_scatter(
        x=pd.Series(high).fillna(pd.Series(values)) + 1,
        y=places,
        mode="text",
        text=[f"{value:.1f}" for value in values],
        textposition="middle right",
        hoverinfo="skip",
        cliponaxis=False,
    )
    figure.update_layout(height=60 + 27 * int(at + 1), margin=MARGIN, showlegend=False)
    figure.update_xaxes(title="Score (%), 95 % interval", range=[least, 112])
    figure.update_yaxes(
        tickvals=places,
        ticktext=[html.escape(str(name)) for name in names],
        range=[at + 0.7, -0.6],
        automargin=True,
        showgrid=False,
        zeroline=False,
    )
    return figure
