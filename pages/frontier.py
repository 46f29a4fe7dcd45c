"""Frontier: what a byte or a millisecond buys; select points to compare them."""

from __future__ import annotations

import streamlit as st

from dqf.ui import components
from dqf.ui.frontier import budget_view
from dqf.ui.frontier import view as frontier_view
from dqf.ui.shell import navigation

studio, controls = components.start_page("Frontier", "What a smaller file or a faster answer costs in score.")
variants = studio.variants()
if variants.empty:
    components.empty_state(
        ":material/scatter_plot:",
        "No variant has been measured yet; each finished run adds its variants here.",
        lambda: navigation.LAUNCH.link("Set up a launch"),
    )
    st.stop()
with controls:
    x, y = frontier_view.axis_controls()
answer = st.container()
left, right = st.columns((2, 5), gap="medium")
with left:
    budget = budget_view.sliders(variants)
    filters = frontier_view.filter_controls(variants)
shown = filters.apply(variants)
if shown.empty:
    with right:
        components.empty_state(":material/filter_alt_off:", "No variant passes these filters; clear one of them.")
    st.stop()
with answer:
    choice = budget_view.answer(shown, x, budget)
chosen: list[str] = []
with right:
    bar = st.container()
    flat, space = st.tabs(["2-D", "3-D"], key="view", bind="query-params", on_change="rerun")
    if flat.open:
        with flat:
            chosen = frontier_view.chart(studio, filters, shown, (x, y), budget, choice)
            frontier_view.caveats(shown, x, y, budget)
    if space.open:
        with space:
            frontier_view.chart_3d(shown, y)
chosen = list(dict.fromkeys((*chosen, *frontier_view.table(studio, shown))))
with bar:
    frontier_view.basket_bar(chosen)
