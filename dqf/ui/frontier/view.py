"""The parts of the frontier page: controls whose state is in the address, the answer, chart and table."""

from __future__ import annotations

import zlib

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dqf.ui import addressed, basket, components, frames, suspicious, variant_table
from dqf.ui import format as fmt
from dqf.ui.axes import COSTS, QUALITIES, SIZE, Axis
from dqf.ui.charts import CONFIG
from dqf.ui.frames import Filters
from dqf.ui.frontier import budget_view
from dqf.ui.frontier.budgets import Budget, Choice, limit_on
from dqf.ui.frontier.chart import MOST_BUBBLES, frontier, frontier_3d
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio

ALL_TASKS = "All tasks"
FLAT, SPACE = "2-D", "3-D"
TABLE_ROWS = 200


def head_controls() -> tuple[Axis, Axis, bool]:
    """Render the choice of axes and view; return the axes and whether the chart is the one in space.

    The view is no tab, as a browser looks through all parts of a chart in a tab for something to focus, whenever one
    of them changes.
    """
    x = st.segmented_control("Cost", list(COSTS), default="Size", key="x", bind="query-params", required=True)
    y = st.segmented_control("Quality", list(QUALITIES), default="Score", key="y", bind="query-params", required=True)
    view = st.segmented_control("View", [FLAT, SPACE], default=FLAT, key="view", bind="query-params", required=True)
    return COSTS[x or "Size"], QUALITIES[y or "Score"], view == SPACE


@st.fragment
def explore(studio: Studio, axes: tuple[Axis, Axis], in_space: bool) -> None:
    """Render limits, filters, answer, chart and table; a change among them runs this again and not the whole page."""
    x, y = axes
    variants = studio.variants()
    answer = st.container()
    left, right = st.columns((2, 5), gap="medium")
    with left:
        budget = budget_view.sliders(variants)
        filters = filter_controls(variants)
    shown = filters.apply(variants)
    if shown.empty:
        with right:
            components.empty_state(":material/filter_alt_off:", "No variant passes these filters; clear one of them.")
        return
    with answer:
        choice = budget_view.answer(shown, x, budget)
        if choice is not None:
            suspicious.pointer(studio, str(choice.row["run_id"]))
    chosen: list[str] = []
    with right:
        bar = st.container()
        if in_space:
            chart_3d(shown, y)
        else:
            chosen = chart(studio, filters, shown, axes, budget, choice)
            caveats(shown, x, y, budget)
    chosen = list(dict.fromkeys((*chosen, *table(studio, shown))))
    with bar:
        basket_bar(chosen)


def filter_controls(variants: pd.DataFrame) -> Filters:
    """Render the filters; all of them are in the address."""
    tasks = [*frames.options(variants, "task"), ALL_TASKS]
    newest = str(frames.newest_run_with_variants(variants)["task"].iloc[0])
    with st.container(border=True):
        gone = "The address names a task without results; showing another one."
        task = addressed.select("Task", tasks, lambda: newest, parameter="task", key="task", gone=gone)
        kinds = st.pills(
            "Method",
            frames.options(variants, "kind"),
            selection_mode="multi",
            format_func=fmt.plain,
            key="method",
            bind="query-params",
            wrap=True,
        )
        methods = st.pills(
            "Quantizer",
            frames.options(variants, "method"),
            selection_mode="multi",
            format_func=fmt.plain,
            key="quantizer",
            bind="query-params",
        )
        bits = st.pills(
            "Bits", frames.options(variants, "bits"), selection_mode="multi", key="bits", bind="query-params"
        )
        verified = st.toggle("Verified only", key="verified", bind="query-params")
    return Filters("" if task == ALL_TASKS else str(task), kinds or (), methods or (), bits or (), bool(verified))


def caveats(shown: pd.DataFrame, x: Axis, y: Axis, budget: Budget) -> None:
    """Say what must not be read into the chart."""
    machines = shown[["hardware", "threads"]].drop_duplicates()
    if len(machines) > 1:
        st.caption(
            f":material/warning: Latencies come from {len(machines)} different machines or thread counts; "
            "compare them through the speed-up in the table."
        )
    if shown["task"].nunique() > 1 and y.column == "score":
        st.caption(
            ":material/warning: Scores of different tasks share this axis; retention is comparable, scores are not."
        )
    other = "latency" if x is SIZE else "size"
    st.caption(
        f"Bubble area shows {other}; shape shows bits: ● FP16, ■ 8-bit, ◆ 4-bit, ▲ 3-bit, ✕ 2-bit, ★ mixed. "
        f"Bars are 95 % intervals. Faded: another variant is {'smaller' if x is SIZE else 'faster'} and no worse."
        + ("" if budget == Budget() else " Nearly gone: it breaks a limit.")
    )
    if len(shown) > MOST_BUBBLES:
        st.caption(
            f"Of these {fmt.count(len(shown))} variants the newest {MOST_BUBBLES} and all efficient ones are bubbles; "
            "the others are dots behind them, which filters turn into bubbles."
        )


def chart(
    studio: Studio,
    filters: Filters,
    shown: pd.DataFrame,
    axes: tuple[Axis, Axis],
    budget: Budget,
    choice: Choice | None,
) -> list[str]:
    """Render the interactive chart with a ring around the answer, and return the keys of the selected points."""
    x, y = axes
    marked = (str(choice.row["key"]), "Best that fits" if choice.fits else "Closest") if choice else None
    state = (str(studio.store.path), studio.store.revision, filters)
    event = st.plotly_chart(
        _figure(state, x, y, budget, marked, shown),
        config=CONFIG,
        key="frontier_chart",
        on_select="rerun",
        selection_mode=("points", "box", "lasso"),
        alt=f"{y.title} against {x.title.lower()} of {len(shown)} variants; the table below holds the same figures",
    )
    return [str(point["customdata"]) for point in event["selection"]["points"] if point.get("customdata")]


@st.cache_resource(max_entries=16, show_spinner=False)
def _figure(
    state: tuple[str, int, Filters],
    x: Axis,
    y: Axis,
    budget: Budget,
    marked: tuple[str, str] | None,
    _shown: pd.DataFrame,
) -> go.Figure:
    """Return the chart from the last time, if `state` (store, its revision and filters) and choices are the same.

    Thousands of points take longer to draw up than a page may.
    """
    return frontier(_shown, x, y, fits=budget.fits(_shown), limit=limit_on(x, budget), marked=marked)


def chart_3d(shown: pd.DataFrame, y: Axis) -> None:
    """Render the view in space."""
    st.plotly_chart(
        frontier_3d(shown, y),
        config=CONFIG,
        key="frontier_3d",
        alt=f"Size, latency and {y.title.lower()} of {len(shown)} variants in space",
    )
    st.caption("Drag to turn. Points are chosen in the 2-D view or in the table.")


def table(studio: Studio, shown: pd.DataFrame) -> list[str]:
    """Render the same figures as a table and return the keys of the selected rows."""
    st.markdown("##### The same figures as a table")
    part = shown.head(TABLE_ROWS)
    if len(shown) > TABLE_ROWS:
        st.caption(f"The newest {TABLE_ROWS} of {len(shown)} variants; filters bring up the others.")
    # A table keeps its selection by row number, so other rows need another table.
    rows = zlib.crc32(" ".join(part["key"]).encode())
    event = variant_table.show(
        part,
        studio.scores(),
        key=f"frontier_table_{rows}",
        with_run=True,
        on_select="rerun",
        selection_mode="multi-row",
    )
    return [str(part["key"].iloc[row]) for row in event["selection"]["rows"] if row < len(part)]


def basket_bar(chosen: list[str]) -> None:
    """Render what can be done with the selected points."""
    held = basket.held()
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            f"Add {len(chosen)} to basket" if chosen else "Add to basket",
            icon=":material/add:",
            disabled=not chosen,
            key="add_to_basket",
            help="Select points in the chart (click, shift-click or box) or rows in the table.",
        ):
            count = basket.put(chosen)
            st.toast(f"The basket holds {count}.", icon=":material/check_circle:")
            held = basket.held()
        if st.button(
            f"Compare ({len(held)})",
            icon=navigation.COMPARE.icon,
            type="primary",
            disabled=not (held or chosen),
            key="compare_basket",
        ):
            basket.put(chosen)
            navigation.COMPARE.go({basket.PARAMETER: basket.held()})
        st.caption(f"{len(chosen)} selected." if chosen else "Nothing selected.")
