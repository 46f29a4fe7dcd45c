"""Charts of any table: points, bars or lines over the columns people pick; pure plotly."""

from __future__ import annotations

import html
from decimal import Decimal
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa

from dqf.errors import UserError
from dqf.ui.charts import LEGEND, MARGIN
from dqf.ui.theme import SERIES_COLORS, VARIANT_COLORS, VARIANT_TITLES

KINDS = ("Bars", "Points", "Lines")
MOST_ROWS = 5000
MOST_COLORS = len(SERIES_COLORS)
MODES = {"Points": "markers", "Lines": "lines+markers"}


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return a result for pandas: every column under a name of its own, exact decimals as floats.

    Raises:
        UserError: a type or a value that Python has nothing for, such as a day before the year 1.
    """
    names: list[str] = []
    for name in table.column_names:
        free = (name, *(f"{name} ({at})" for at in range(2, len(table.column_names) + 2)))
        names.append(next(one for one in free if one not in names))
    try:
        frame = table.rename_columns(names).to_pandas()
    except (ValueError, OverflowError, pa.ArrowException) as error:
        raise UserError(
            f"a result must hold what a page can show: {str(error)[:300]}; cast that column to text, as in `x::TEXT`."
        ) from None
    for name in names:
        if frame[name].map(lambda value: isinstance(value, Decimal)).any():
            frame[name] = pd.to_numeric(frame[name])
    return frame


def numeric(frame: pd.DataFrame) -> list[str]:
    """Return the columns that hold numbers."""
    return [str(name) for name in frame if pd.api.types.is_numeric_dtype(frame[name]) and frame[name].dtype != bool]


def plottable(frame: pd.DataFrame) -> list[str]:
    """Return the columns whose values can stand on an axis: no lists, structures or bytes."""
    return [
        str(name)
        for name in frame
        if not frame[name].map(lambda one: isinstance(one, list | dict | bytes)).any()
        and not frame[name].map(lambda one: hasattr(one, "shape") and getattr(one, "shape", ()) != ()).any()
    ]


def colors_of(values: list[str]) -> dict[str, str]:
    """Return a color for each value; kinds of variant keep theirs."""
    by_title = {title: VARIANT_COLORS[name] for name, title in VARIANT_TITLES.items()}
    fixed = {**VARIANT_COLORS, **by_title}
    if all(value in fixed for value in values):
        return {value: fixed[value] for value in values}
    return {value: SERIES_COLORS[at % MOST_COLORS] for at, value in enumerate(values)}


def chart(frame: pd.DataFrame, kind: str, x: str, y: str, color: str = "") -> go.Figure:
    """Return a chart of one column against another.

    Args:
        frame: the rows; only the first `MOST_ROWS` are drawn.
        kind: one of `KINDS`.
        x: column of the horizontal axis.
        y: numeric column of the vertical axis.
        color: column that tells series apart, empty for one series; the rarest values share one.
    """
    rows = frame.head(MOST_ROWS)
    figure = go.Figure()
    if not color:
        _add(figure, kind, rows, x, y, "", SERIES_COLORS[0])
    else:
        values = rows[color].astype(str)
        common = list(values.value_counts().index[:MOST_COLORS])
        names = [value for value in dict.fromkeys(values) if value in common]
        palette = colors_of(names)
        for name in names:
            _add(figure, kind, rows[values == name], x, y, name, palette[name])
        others = rows[~values.isin(common)]
        if len(others):
            _add(figure, kind, others, x, y, "others", "#8d94a3")
    figure.update_layout(height=420, margin=MARGIN, legend=LEGEND, showlegend=bool(color), barmode="group", bargap=0.25)
    figure.update_xaxes(title=html.escape(x), automargin=True)
    figure.update_yaxes(title=html.escape(y), automargin=True, zeroline=False)
    return figure


def _add(figure: go.Figure, kind: str, rows: pd.DataFrame, x: str, y: str, name: str, color: str) -> None:
    across = [_shown(value) for value in rows[x]]
    series: dict[str, Any] = {
        "x": across,
        "y": rows[y],
        "name": html.escape(_short(name, 32)),
        "hovertemplate": f"{html.escape(x)}: %{{x}}<br>{html.escape(y)}: %{{y}}<extra>{html.escape(name)}</extra>",
    }
    if kind == "Bars":
        figure.add_bar(**series, marker_color=color)
    else:
        figure.add_scatter(
            **series, mode=MODES.get(kind, "markers"), marker={"size": 8, "color": color}, line={"width": 2}
        )


def _shown(value: Any) -> Any:
    return html.escape(_short(value, 40)) if isinstance(value, str) else value


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
