"""Compare: the chosen variants side by side, with the paper's own table as a reference."""

from __future__ import annotations

from dqf.ui import basket, components
from dqf.ui.compare import differences as difference_view
from dqf.ui.compare import flip_view
from dqf.ui.compare import view as compare_view
from dqf.ui.receipt import view as receipt_view
from dqf.ui.shell import navigation

studio, controls = components.start_page("Compare", "The chosen variants side by side; the address holds the choice.")
variants = studio.variants()
missing = basket.from_address(variants["key"])
if missing:
    components.notice("warning", "The address names variants that do not exist here.", "\n".join(missing[:10]))
with controls:
    navigation.FRONTIER.link("Choose on the frontier")
compare_view.picker(variants)
chosen = compare_view.chosen(variants)
if variants.empty:
    components.empty_state(
        ":material/compare_arrows:",
        "No variant has been measured yet.",
        lambda: navigation.LAUNCH.link("Set up a launch"),
    )
elif chosen.empty:
    components.empty_state(
        ":material/compare_arrows:",
        "The basket is empty: select points on the frontier, or take the newest run.",
        lambda: compare_view.take_newest(variants),
    )
else:
    compare_view.show(studio, chosen)
    compare_view.tasks(studio, chosen)
    difference_view.show(studio, chosen)
    flip_view.show(studio, chosen)
    receipt_view.side_by_side(studio, chosen)
compare_view.published()
