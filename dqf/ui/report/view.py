"""The Reports page: choose the rows, see what a report says, take it as HTML, PDF, CSV or parquet."""

from __future__ import annotations

import io
from collections.abc import Callable

import pandas as pd
import streamlit as st

from dqf.jobs import protocol
from dqf.ui import basket, components, frames, scored
from dqf.ui import format as fmt
from dqf.ui.compare import comparisons
from dqf.ui.frontier import budget_view
from dqf.ui.report import content as report_content
from dqf.ui.report.content import Report
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio

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
        run_id = st.selectbox("Run", runs, index=runs.index(first), key="run", bind="query-params")
    return variants[variants["run_id"] == run_id].head(MOST), loss


def put_together(studio: Studio, rows: pd.DataFrame, loss: float) -> Report:
    """Return the report of the chosen rows."""
    results = {}
    for run_id in dict.fromkeys(rows["run_id"]):
        run_dir = studio.run_dir(str(run_id))
        result = protocol.read_json(run_dir / "result.json") if run_dir is not None else None
        results[str(run_id)] = result if isinstance(result, dict) else {}
    return report_content.build(rows, results, _differences(studio, rows), loss)


def _differences(studio: Studio, rows: pd.DataFrame) -> pd.DataFrame:
    """Return paired tests of every variant against the teacher of its run, where predictions can be read."""
    found, _ = scored.load(studio, rows)
    teachers = set(rows.loc[rows["variant"] == "teacher", "key"])
    groups, chosen = [], []
    for run_id in dict.fromkeys(rows["run_id"]):
        own = [one for one in found if one.key.startswith(f"{run_id}/")]
        for group in comparisons.groups(own):
            teacher = next((one.key for one in group if one.key in teachers), "")
            if teacher and len(group) > 1:
                groups.append(group)
                chosen += comparisons.pairs([group], teacher)
    return comparisons.compare_pairs(chosen, scored.resampled(studio, groups)) if chosen else pd.DataFrame()


def downloads(report: Report) -> None:
    """Render one button per form; a file is made when it is asked for."""
    rows = report_content.machine_rows
    forms: tuple[tuple[str, str, str, str, Callable[[], bytes]], ...] = (
        ("HTML", "html", "text/html", ":material/public:", lambda: _html(report)),
        ("PDF", "pdf", "application/pdf", ":material/picture_as_pdf:", lambda: _pdf(report)),
        ("CSV", "csv", "text/csv", ":material/csv:", lambda: rows(report).to_csv(index=False).encode()),
        ("Parquet", "parquet", "application/vnd.apache.parquet", ":material/table:", lambda: _parquet(report)),
    )
    with st.container(horizontal=True):
        for name, suffix, mime, icon, make in forms:
            st.download_button(
                name,
                make,
                file_name=f"{report.file_stem}.{suffix}",
                mime=mime,
                icon=icon,
                type="primary" if suffix == "html" else "secondary",
                on_click="ignore",
                key=f"report_{suffix}",
            )
    st.caption(
        "HTML: one file with interactive charts that opens without a network. PDF: for print. CSV and parquet: the "
        "rows with every figure in base units, hardware, versions, seeds and configs beside them."
    )


def _html(report: Report) -> bytes:
    from dqf.ui.report import html as report_html

    return report_html.render(report)


def _pdf(report: Report) -> bytes:
    from dqf.ui.report import pdf as report_pdf

    return report_pdf.render(report)


def _parquet(report: Report) -> bytes:
    buffer = io.BytesIO()
    report_content.machine_rows(report).to_parquet(buffer, index=False)
    return buffer.getvalue()


def preview(report: Report) -> None:
    """Render what the report says, so that nobody downloads blindly."""
    with st.container(border=True, gap="small"):
        st.markdown("##### What it says first")
        for one in report.lead:
            st.text(one)
    st.markdown(f"##### {len(report.table)} rows")
    st.dataframe(
        report.table, hide_index=True, height=min(38 + 35 * len(report.table), 458), alt="The rows of the report"
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
            st.code(run.command, language="bash")
    st.caption(f"Made {fmt.moment(report.created)} UTC; the address of this page makes the same report again.")
