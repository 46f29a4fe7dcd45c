"""Playground: one text, or a small table, through all chosen variants of a run at once."""

from __future__ import annotations

import streamlit as st

from dqf.ui import components
from dqf.ui.playground import batch as playground_batch
from dqf.ui.playground import one_text as playground_text
from dqf.ui.playground import view as playground_view
from dqf.ui.shell import navigation

studio, controls = components.start_page(
    "Playground", "Ask the files that ship: one text through all variants of a run at once."
)
variants = studio.variants()
if variants.empty:
    components.empty_state(
        ":material/forum:",
        "No variant has been measured yet; a finished run can be asked here.",
        lambda: navigation.LAUNCH.link("Set up a launch"),
    )
    st.stop()
with controls:
    run_id = playground_view.choose_run(studio, variants)
bench = playground_view.choose_variants(studio, run_id, variants)
if bench.rows.empty:
    components.empty_state(":material/forum:", "Choose at least one variant.")
    st.stop()
playground_view.say_what_is_missing(bench)
one, many = st.tabs(["One text", "A table of texts"], key="ask", bind="query-params", on_change="rerun")
if one.open:
    with one:
        playground_text.show(bench)
if many.open:
    with many:
        playground_batch.show(bench)
playground_view.memory(bench)
