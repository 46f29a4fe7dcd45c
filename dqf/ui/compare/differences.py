"""Compare: which differences between the chosen variants are more than chance."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dqf.ui import components, scored
from dqf.ui import format as fmt
from dqf.ui.charts import CONFIG, MARGIN
from dqf.ui.compare import comparisons
from dqf.ui.compare.comparisons import Scored
from dqf.ui.studio import Studio
from dqf.ui.theme import INTERVAL_COLOR, NEUTRAL_COLOR, variant_color

EVERY_PAIR = ""
MOST_BARS = 40
METHOD = (
    "Second minus first on the same examples, in percentage points of the task's metric. Interval: paired bootstrap, "
    "2000 resamples of the examples. p: exact McNemar test for accuracies, paired bootstrap for other metrics (where "
    "all its resamples agree, a normal distribution's with their deviation); corrected (Holm) over the comparisons "
    "shown. Seeds and training are not part of it: another training could differ."
)


@st.fragment
def show(studio: Studio, rows: pd.DataFrame) -> None:
    """Render paired tests between the chosen variants that were scored on the same examples."""
    st.subheader("Is the difference real?", anchor=False)
    found, problems = scored.load(studio, rows)
    if problems:
        components.notice("warning", "Not every variant's predictions can be read.", "\n".join(problems))
    groups = [group for group in comparisons.groups(found) if len(group) > 1]
    if not groups:
        st.caption(
            "Tests need two variants that were scored on the same examples; choose another one of the same task."
        )
        return
    labels = short_names(rows)
    kinds = dict(zip(rows["key"], rows["variant"], strict=True))
    against = _reference(groups, labels, kinds)
    pairs = comparisons.pairs(groups, against)
    table = comparisons.compare_pairs(pairs, scored.resampled(studio, groups))
    claimed = int((table["verdict"] != "").sum())
    many = len(table) > 1
    st.markdown(
        f"**{claimed} of {len(table)} {'comparisons show' if many else 'comparison shows'} a difference** at the 5 % "
        f"level{', corrected for their number' if many else ''}; those are filled below."
    )
    if len(table) <= MOST_BARS:
        st.plotly_chart(
            forest(table, labels, kinds, named_first=against == EVERY_PAIR),
            config={**CONFIG, "displayModeBar": False},
            key=f"differences_{against}",
            alt="Differences of score with 95 % intervals; the table below holds the same figures",
        )
    shown = readable(table, labels)
    if against != EVERY_PAIR:
        shown = shown.drop(columns="First").rename(columns={"Second": "Variant"})
    st.dataframe(
        shown,
        hide_index=True,
        height=components.table_height(len(shown), most=11),
        key=f"difference_table_{against}",
        column_config=_columns(),
        alt="Paired tests: difference, interval and p-values of each comparison",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download CSV",
            lambda: table.to_csv(index=False).encode(),
            file_name="dqf-differences.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="difference_csv",
        )
        st.caption(METHOD)


def _reference(groups: list[list[Scored]], labels: dict[str, str], kinds: dict[str, str]) -> str:
    keys = [one.key for group in groups for one in group]
    teacher = next((at for at, key in enumerate(keys) if kinds[key] == "teacher"), 0)
    chosen = st.selectbox(
        "Compare",
        [*keys, EVERY_PAIR],
        teacher,
        format_func=lambda key: f"with {labels.get(key, key)}" if key else "every pair",
        key="compare_against",
        width=420,
    )
    return str(chosen)


def short_names(rows: pd.DataFrame) -> dict[str, str]:
    """Return a name for each variant by key; with its run only where the chosen ones come from several."""
    one_run = rows["run_id"].nunique() == 1 and not rows["name"].duplicated().any()
    return dict(zip(rows["key"], rows["name" if one_run else "label"], strict=True))


def readable(table: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """Return the tests as people read them."""
    words = {"": "No difference shown", "first": "Worse", "second": "Better"}
    return pd.DataFrame(
        {
            "First": table["first"].map(labels),
            "Second": table["second"].map(labels),
            "Task": table["task"],
            "Difference (pp)": 100 * table["difference"],
            "95 % CI": [
                f"{100 * low:+.1f} to {100 * high:+.1f}".replace("-", "\u2212")
                for low, high in zip(table["low"], table["high"], strict=True)
            ],
            "p, corrected": [fmt.p_value(value) for value in table["p_holm"]],
            "Verdict": table["verdict"].map(words),
            "Lost": table["only_first"],
            "Won": table["only_second"],
            "p": [fmt.p_value(value) for value in table["p_value"]],
            "n": table["n"],
            "Test": table["test"],
        }
    )


def _columns() -> dict[str, Any]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    return {
        "First": text(width=230),
        "Second": text(width=230),
        "Difference (pp)": number(format="%+.1f", help="Second minus first, percentage points."),
        "p, corrected": text(help="Holm's correction over the comparisons shown."),
        "Variant": text(width=270, pinned=True),
        "Test": text(width=150),
        "Verdict": text(
            help="Of the second, at the 5 % level after correction. No difference shown does not mean equal."
        ),
        "Lost": number(help="Examples that the first got right and this one wrong."),
        "Won": number(help="Examples that the first got wrong and this one right."),
    }


def forest(table: pd.DataFrame, labels: dict[str, str], kinds: dict[str, str], named_first: bool) -> go.Figure:
    """Return the differences with their intervals, first comparison on top; claimed ones in full color."""
    at = list(range(len(table)))
    figure = go.Figure()
    figure.add_vline(x=0, line={"color": NEUTRAL_COLOR, "width": 1, "dash": "dot"})
    names = []
    for place, row in zip(at, table.to_dict("records"), strict=True):
        claimed = bool(row["verdict"])
        color = variant_color(str(kinds[row["second"]]))
        second, first, p = labels[row["second"]], labels[row["first"]], fmt.p_value(row["p_holm"])
        names.append(html.escape(f"{second} − {first}" if named_first else second))
        figure.add_scatter(
            x=[100 * row["difference"]],
            y=[place],
            mode="markers",
            marker={"size": 11, "color": color if claimed else "rgba(0,0,0,0)", "line": {"color": color, "width": 2}},
            error_x={
                "type": "data",
                "array": [100 * (row["high"] - row["difference"])],
                "arrayminus": [100 * (row["difference"] - row["low"])],
                "color": color if claimed else INTERVAL_COLOR,
                "thickness": 1.5,
                "width": 4,
            },
            hovertemplate=f"{html.escape(second)}: %{{x:+.1f}} pp, corrected p {p}<extra></extra>",
        )
    figure.update_layout(height=110 + 30 * len(table), margin=MARGIN, showlegend=False)
    figure.update_xaxes(title="Difference of score (pp)", zeroline=False)
    figure.update_yaxes(
        tickvals=at, ticktext=names, range=[len(table) - 0.5, -0.5], automargin=True, showgrid=False, zeroline=False
    )
    return figure
