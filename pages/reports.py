"""Reports: one click gives the chosen rows as a self-contained HTML file, PDF, CSV or parquet."""

from __future__ import annotations

import streamlit as st

from dqf.ui import components
from dqf.ui.report import view as report_view
from dqf.ui.report.gather import put_together
from dqf.ui.shell import navigation

studio, _ = components.start_page("Reports", "Take the figures along: what was measured, and how to repeat it.")
variants = studio.variants()
if variants.empty:
    components.empty_state(
        ":material/summarize:",
        "No variant has been measured yet; a report needs rows.",
        lambda: navigation.LAUNCH.link("Set up a launch"),
    )
    st.stop()
rows, loss = report_view.choose(variants)
if rows.empty:
    components.empty_state(
        ":material/summarize:", "The basket is empty.", lambda: navigation.FRONTIER.link("Choose on the frontier")
    )
    st.stop()
report = put_together(studio, rows, loss)
report_view.downloads(report)
report_view.preview(report)
