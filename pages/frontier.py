"""Frontier: what a byte or a millisecond buys; select points to compare them."""

from __future__ import annotations

from dqf.ui import components
from dqf.ui.frontier import view
from dqf.ui.shell import navigation

studio, controls = components.start_page("Frontier", "What a smaller file or a faster answer costs in score.")
if studio.variants().empty:
    components.empty_state(
        ":material/scatter_plot:",
        "No variant has been measured yet; each finished run adds its variants here.",
        lambda: navigation.LAUNCH.link("Set up a launch"),
    )
else:
    with controls:
        x, y, in_space = view.head_controls()
    view.explore(studio, (x, y), in_space)
