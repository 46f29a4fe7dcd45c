"""Shelf: artifacts and exports to take away or delete, and what the disk holds."""

from __future__ import annotations

import streamlit as st

from dqf.ui import components, shelf
from dqf.ui.shell import navigation

studio, _ = components.start_page("Shelf", "What can be taken away, what it takes on disk, and what may go.")
components.show_flash()
things, disk = st.tabs(["Artifacts", "Disk use"], key="view", bind="query-params", on_change="rerun")
if things.open:
    with things:
        runs = shelf.runs_with_items(studio)
        if runs:
            shelf.of_run(studio, shelf.choose(studio, runs))
        else:
            components.empty_state(
                ":material/shelves:",
                "No artifact is here; a finished run puts its artifacts on the shelf.",
                lambda: navigation.LAUNCH.link("Set up a launch"),
            )
if disk.open:
    with disk:
        shelf.disk(studio)
