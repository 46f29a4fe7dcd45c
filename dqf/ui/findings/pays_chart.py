"""Where distillation pays: what it adds to the score, over a setting (the number of labels) and the bit-width."""

from __future__ import annotations

import html

import pandas as pd
import plotly.graph_objects as go

MARGIN = {"l": 8, "r": 8, "t": 8, "b": 8}
ALPHA, FIRM = 0.05, " *"
LEAST_RANGE = 1.0
"""Points at either end of the colours, at least: noise must not look like a finding."""
COLOURS = [[0.0, "#b2182b"], [0.5, "#f2f2f2"], [1.0, "#2166ac"]]
"""Red to blue over grey: told apart by the colour-blind too, and every cell says its outcome in words."""


def figure(rows: pd.DataFrame, title: str) -> go.Figure:
    """Return a heat map, one cell per value of the setting and bit-width.

    Args:
        rows: `tables.pays_rows`.
        title: of the setting.
    """
    values, names = list(dict.fromkeys(rows["value"])), list(dict.fromkeys(rows["name"]))
    cells = rows.set_index(["name", "value"])

    def grid(column: str) -> list[list[object]]:
        return [
            [cells[column].get((name, value)) if (name, value) in cells.index else None for value in values]
            for name in names
        ]

    reach = max(LEAST_RANGE, float(rows["difference"].abs().max()))
    chart = go.Figure(
        go.Heatmap(
            x=list(range(len(values))),
            y=list(range(len(names))),
            z=grid("difference"),
            zmin=-reach,
            zmax=reach,
            colorscale=COLOURS,
            xgap=3,
            ygap=3,
            customdata=[
                [list(pair) for pair in zip(lows, highs, strict=True)]
                for lows, highs in zip(grid("low"), grid("high"), strict=True)
            ],
            hovertemplate="%{z:+.1f} points [%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>",
            colorbar={"title": {"text": "points"}, "thickness": 12, "len": 0.9},
        )
    )
    for row in rows.to_dict("records"):
        strong = abs(row["difference"]) > 0.72 * reach  # where white is easier to read than black
        chart.add_annotation(
            x=values.index(row["value"]),
            y=names.index(row["name"]),
            text=f"<b>{row['outcome']}{FIRM * (row['p_holm'] < ALPHA)}</b><br>{row['difference']:+.1f}".replace(
                "-", "\u2212"
            ),
            showarrow=False,
            font={"size": 12, "color": "#ffffff" if strong else "#1f2328"},
        )
    chart.update_layout(height=120 + 56 * len(names), margin=MARGIN)
    # Places, not names: plotly would read "100" as a number.
    chart.update_xaxes(
        title=html.escape(title),
        tickvals=list(range(len(values))),
        ticktext=[html.escape(value) for value in values],
        showgrid=False,
        zeroline=False,
    )
    chart.update_yaxes(
        autorange="reversed",
        tickvals=list(range(len(names))),
        ticktext=names,
        showgrid=False,
        zeroline=False,
        automargin=True,
    )
    return chart
