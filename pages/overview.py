"""Overview: what this is, what the newest run reached, and one button to begin."""

from __future__ import annotations

import streamlit as st

from dqf.ui import components, overview

studio, controls = components.start_page("DQF Studio")
components.show_flash()
overview.introduction()
variants = studio.variants()
runs = studio.runs()
if variants.empty:
    overview.nothing_yet(studio, runs)
    st.stop()
with controls:
    overview.launch_button(studio)
overview.live_run(runs)
overview.show(studio, variants)
