"""The Reports page: choose the rows, see what a report says, take it as HTML, PDF, CSV or parquet."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from dqf.ui import addressed, basket, components, frames
from dqf.ui import format as fmt
from dqf.ui.frontier import budget_view
from dqf.ui.report import files
from dqf.ui.report.content import Report
from dqf.ui.shell import navigation

RUN, BASKET = "A run", "The basket of Compare"
MOST = 60


def choose(variants: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Render the choice of rows, kept in the address; return them and the allowed loss as a share."""
    missing = basket.from_address(variants["key"])
    if missing:
        components.notice("warning", "The address names variants that do not exist here.", "\n".join(missing[:10]))
    runs = list(dict.fromkeys(variants["run_id"]))
    first = str(frames.newest_run_with_variants(variants)["run_id"].iloc[0])
    left, middle, right = st.columns((2, 3, 2), gap="medium", vertical_alignment="bottom")
    with left:
        what = st.segmented_control("Rows", (RUN, BASKET), default=RUN, required=True, key="of", bind="query-params")
    with right:
        loss = budget_view.loss_slider()
    with middle:
        if what == BASKET:
            held = basket.held()
            basket.to_address()
            st.caption(f"{len(held)} variants; the basket is filled on the frontier and changed on Compare.")
            navigation.COMPARE.link("Change the basket", query={basket.PARAMETER: held} if held else None)
            order = {key: at for at, key in enumerate(held)}
            rows = variants[variants["key"].isin(order)]
            return rows.sort_values("key", key=lambda column: column.map(order)) if len(rows) else rows, loss
        run_id = addressed.select(
            "Run", runs, lambda: first, parameter="run", key="report_run", gone=addressed.NO_RESULTS
        )
    return variants[variants["run_id"] == run_id].head(MOST), loss


def downloads(report: Report) -> None:
    """Render one button per form; a file is made when it is asked for."""
    with st.container(horizontal=True):
        for form in files.FORMS:
            st.download_button(
                form.title,
                partial(form.make, report),
                file_name=f"{report.file_stem}.{form.suffix}",
                mime=form.mime,
                icon=form.icon,
                type="primary" if form.suffix == "html" else "secondary",
                on_click="ignore",
                key=f"report_{form.suffix}",
            )
    st.caption(
        "HTML: one file with interactive charts that opens without a network. PDF: for print. CSV and parquet: the "
        "rows with every figure in base units, hardware, versions, seeds and configs beside them."
    )


def preview(report: Report) -> None:
    """Render what the report says, so that nobody downloads blindly."""
    with st.container(border=True, gap="small"):
        st.markdown("##### What it says first")
        for one in report.lead:
            st.text(one)
    st.markdown(f"##### {len(report.table)} rows")
    st.dataframe(
        report.table, hide_index=True, height=components.table_height(len(report.table)), alt="The rows of the report"
    )
    for title, frame in (("Differences against the teacher", report.differences), ("Where it will run", report.advice)):
        if not frame.empty:
            with st.expander(f"{title}: {len(frame)} rows"):
                st.dataframe(frame, hide_index=True, alt=title)
    with st.expander("How it was measured, and how to make it again"):
        for run in report.runs:
            st.text(run.run_id)
            st.dataframe(
                pd.DataFrame(run.facts, columns=["What", "Value"]), hide_index=True, alt=f"Facts of run {run.run_id}"
            )
            st.code(run.command, language=None)
    st.caption(f"Made {fmt.moment(report.created)} UTC; the address of this page makes the same report again.")
