"""Runs: the queue, the history, and one run in detail, live while it works."""

from __future__ import annotations

import streamlit as st

from dqf.ui import components
from dqf.ui.runs import detail as run_detail
from dqf.ui.runs import table as run_table
from dqf.ui.shell import navigation

studio, controls = components.start_page("Runs", "One run at a time; the others wait. Closing this page stops nothing.")
components.show_flash()
runs = studio.runs()
if runs.empty:
    components.empty_state(
        ":material/inbox:", "No run has been launched yet.", lambda: navigation.LAUNCH.link("Set up a launch")
    )
    st.stop()
with controls:
    navigation.LAUNCH.link("New launch")
chosen = run_table.choose(runs)
run_table.table(studio)
run_dir = studio.run_dir(chosen)
if run_dir is not None:
    run_detail.show(studio, run_dir)
