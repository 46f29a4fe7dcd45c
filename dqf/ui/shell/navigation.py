"""Where the pages are; the one list behind menu, links and switches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import streamlit as st

ROOT = Path(__file__).resolve().parents[3]
ICON = Path(__file__).parents[1] / "assets" / "icon.png"


@dataclass(frozen=True)
class Place:
    """One page.

    Attributes:
        file: its file in `pages/`.
        title: name in the menu.
        icon: Material icon.
        url_path: its address; empty for the first page.
    """

    file: str
    title: str
    icon: str
    url_path: str

    @property
    def path(self) -> str:
        """Absolute path of the page's file."""
        return str(ROOT / "pages" / self.file)

    def go(self, query: Mapping[str, str | list[str]] | None = None) -> NoReturn:
        """Leave the current page for this one."""
        st.switch_page(self.path, query_params=query)

    def link(self, label: str, icon: str = "", query: Mapping[str, str | list[str]] | None = None) -> None:
        """Render a link to this page."""
        st.page_link(self.path, label=label, icon=icon or self.icon, query_params=query)


OVERVIEW = Place("overview.py", "Overview", ":material/home:", "")
LAUNCH = Place("launch.py", "Launch", ":material/rocket_launch:", "launch")
RUNS = Place("runs.py", "Runs", ":material/list_alt:", "runs")
FRONTIER = Place("frontier.py", "Frontier", ":material/scatter_plot:", "frontier")
COMPARE = Place("compare.py", "Compare", ":material/compare_arrows:", "compare")
SCENARIOS = Place("scenarios.py", "Scenarios", ":material/alt_route:", "scenarios")
PLAYGROUND = Place("playground.py", "Playground", ":material/forum:", "playground")
REPORTS = Place("reports.py", "Reports", ":material/summarize:", "reports")
SHELF = Place("shelf.py", "Shelf", ":material/shelves:", "shelf")
SQL = Place("sql.py", "SQL", ":material/database_search:", "sql")
FINDINGS = Place("findings.py", "Findings", ":material/fact_check:", "findings")
PLACES = (OVERVIEW, LAUNCH, RUNS, FRONTIER, COMPARE, SCENARIOS, PLAYGROUND, FINDINGS, REPORTS, SHELF, SQL)
