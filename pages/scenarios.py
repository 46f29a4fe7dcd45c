"""Scenarios: which measured row serves cloud, edge, real time and mobile best, beside the textbook's advice."""

from __future__ import annotations

import streamlit as st

from dqf.ui import components
from dqf.ui.scenario import advice as scenarios
from dqf.ui.scenario import view as scenario_view

studio, _ = components.start_page("Scenarios", "Where will it run? Your measured rows, beside the textbook.")
variants = studio.variants()
if variants.empty:
    scenario_view.nothing_yet()
    st.stop()
shown, loss = scenario_view.choose(variants)
found = scenarios.scenarios(scenarios.has_throughput(shown))
scenario_view.cards([scenarios.advise(shown, one, loss) for one in found], loss)
scenario_view.rows(shown, found, loss)
