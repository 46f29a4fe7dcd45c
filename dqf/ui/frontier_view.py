"""The parts of the frontier page: controls whose state is in the address, the answer, chart and table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from dqf.ui import basket, frames, navigation, variant_table
from dqf.ui import format as fmt
from dqf.ui.axes import COSTS, QUALITIES, SIZE, Axis
from dqf.ui.charts import CONFIG
from dqf.ui.frames import Filters
from dqf.ui.frontier_chart import frontier, frontier_3d
from dqf.ui.studio import Studio

ALL_TASKS = "All tasks"
TOLERANCES = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
TABLE_ROWS = 200


@dataclass(frozen=True)
class View:
    """What the controls say."""

    x: Axis
    y: Axis
    tolerance: float
    filters: Filters


def axis_controls() -> tuple[Axis, Axis]:
    """Render the choice of axes."""
    x = st.segmented_control("Cost", list(COSTS), default="Size", key="x", bind="query-params", required=True)
    y = st.segmented_control("Quality", list(QUALITIES), default="Score", key="y", bind="query-params", required=True)
    return COSTS[x or "Size"], QUALITIES[y or "Score"]


def filter_controls(variants: pd.DataFrame) -> tuple[Filters, float]:
    """Render the filters and the tolerance; all of it is in the address."""
    tasks = [*frames.options(variants, "task"), ALL_TASKS]
    newest = str(frames.newest_run_with_variants(variants)["task"].iloc[0])
    with st.container(border=True):
        top = st.columns((2, 3, 2), gap="medium")
        task = top[0].selectbox("Task", tasks, index=tasks.index(newest), key="task", bind="query-params")
        kinds = top[1].pills(
            "Method",
            frames.options(variants, "kind"),
            selection_mode="multi",
            format_func=fmt.plain,
            key="method",
            bind="query-params",
            wrap=True,
        )
        tolerance = top[2].select_slider(
            "Allowed loss (percentage points)", TOLERANCES, value=2.0, key="within", bind="query-params"
        )
        bottom = st.columns((2, 3, 2), gap="medium", vertical_alignment="bottom")
        methods = bottom[0].pills(
            "Quantizer",
            frames.options(variants, "method"),
            selection_mode="multi",
            format_func=fmt.plain,
            key="quantizer",
            bind="query-params",
        )
        bits = bottom[1].pills(
            "Bits", frames.options(variants, "bits"), selection_mode="multi", key="bits", bind="query-params"
        )
        verified = bottom[2].toggle("Verified only", key="verified", bind="query-params")
    filters = Filters("" if task == ALL_TASKS else str(task), kinds or (), methods or (), bits or (), bool(verified))
    return filters, float(tolerance) / 100


def answer(shown: pd.DataFrame, x: Axis, tolerance: float) -> None:
    """Say in one sentence what a decision-maker asks: what is the smallest (fastest) that is good enough?"""
    word = "Smallest" if x is SIZE else "Fastest"
    best = frames.recommended(shown, x.column, tolerance)
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        if best is None:
            st.markdown(
                f":orange[:material/lightbulb:] **{word} within {100 * tolerance:g} pp of the teacher:**",
                width="content",
            )
            st.text("no verified variant shown here is that good; allow more loss, or change the filters.")
            return
        st.markdown(
            f":green[:material/lightbulb:] **{word} within {100 * tolerance:g} pp of the teacher:**", width="content"
        )
        st.text(_sentence(best))


def _sentence(best: pd.Series[Any]) -> str:
    loss = fmt.points(best["score"] - best["teacher_score"])
    interval = fmt.percent_interval(best["score_ci95_low"], best["score_ci95_high"])
    score = f"score {fmt.percent(best['score'])}" + (f" ({interval}, n {fmt.count(best['n'])})" if interval else "")
    return (
        f"{best['label']}: {fmt.size(best['size_bytes'])} ({fmt.times(best['compression_ratio'])} smaller), "
        f"{fmt.milliseconds(best['latency_ms_p50'])} ({fmt.times(best['speedup'])} faster), {score}, "
        f"{loss} against its teacher."
    )


def caveats(shown: pd.DataFrame, x: Axis, y: Axis) -> None:
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
    )


def chart(shown: pd.DataFrame, x: Axis, y: Axis) -> list[str]:
    """Render the interactive chart and return the keys of the selected points."""
    event = st.plotly_chart(
        frontier(shown, x, y),
        config=CONFIG,
        key="frontier_chart",
        on_select="rerun",
        selection_mode=("points", "box", "lasso"),
        alt=f"{y.title} against {x.title.lower()} of {len(shown)} variants; the table below holds the same figures",
    )
    return [str(point["customdata"]) for point in event["selection"]["points"] if point.get("customdata")]


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
    event = variant_table.show(
        part, studio.scores(), key="frontier_table", with_run=True, on_select="rerun", selection_mode="multi-row"
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
