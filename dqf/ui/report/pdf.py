"""A report as PDF: drawn by fpdf2, with fonts of our own, so that no browser is needed."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from fpdf import FPDF, FontFace
from fpdf.enums import WrapMode, XPos, YPos

from dqf.ui import format as fmt
from dqf.ui.axes import LATENCY, SCORE, SIZE
from dqf.ui.report.content import Report
from dqf.ui.report.pdf_chart import scatter

FONTS = Path(__file__).parents[1] / "assets" / "fonts"
INK, QUIET, LINE, ACCENT, SHADE = (26, 30, 43), (91, 98, 114), (220, 223, 232), (68, 83, 214), (244, 245, 250)
CHART_HEIGHT = 72.0
WIDTHS = {
    "#": 0.6,
    "Variant": 3.4,
    "Size": 1.4,
    "Smaller": 1.2,
    "p50 / p90": 2.0,
    "Faster": 2.1,
    "Score": 2.7,
    "n": 0.8,
    "Retention": 2.7,
    "Memory": 1.4,
    "Batch 8": 1.2,
    "Runtime": 2.4,
    "Verified": 1.2,
    "Against": 2.2,
    "Difference": 2.8,
    "p (Holm)": 1.2,
    "Verdict": 2.2,
    "Lost": 0.8,
    "Won": 0.8,
    "Test": 2.2,
    "Scenario": 2.4,
    "Best row": 3.0,
    "Textbook": 4.0,
    "Your rows say": 4.0,
}
logging.getLogger("fpdf").setLevel(logging.ERROR)
logging.getLogger("fontTools").setLevel(logging.ERROR)


class _Document(FPDF):
    """A landscape page with the report's fonts and a footer."""

    def __init__(self, report: Report) -> None:
        super().__init__(orientation="landscape", format="A4")
        self.set_margins(14, 14)
        self.set_auto_page_break(True, 16)
        for style, file in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
            self.add_font("body", style, FONTS / file)
        self.set_title(f"DQF Studio report: {report.title}")
        self.set_creator(f"DQF Studio {report.version}")
        self.set_creation_date(report.created)
        self._foot = f"DQF Studio {report.version}, {fmt.moment(report.created)} UTC"

    def footer(self) -> None:
        """Write what made the page, and its number."""
        self.set_y(-11)
        self._style(7, color=QUIET)
        self.cell(0, 4, self._foot)
        self.set_x(-40)
        self.cell(26, 4, f"{self.page_no()} / {{nb}}", align="R")

    def _style(self, size: float, bold: bool = False, color: tuple[int, int, int] = INK) -> None:
        self.set_font("body", "B" if bold else "", size)
        self.set_text_color(*color)

    def heading(self, text: str, size: float = 12) -> None:
        """Write a heading that stays with what follows."""
        if self.get_y() > self.h - 45:
            self.add_page()
        self.ln(3)
        self._style(size, bold=True)
        self._lines(text, size * 0.5)
        self.ln(1)

    def paragraph(self, text: str, size: float = 8.5, color: tuple[int, int, int] = INK) -> None:
        """Write running text."""
        self._style(size, color=color)
        self._lines(text, size * 0.52)

    def _lines(self, text: str, height: float, wrap: WrapMode = WrapMode.WORD) -> None:
        self.multi_cell(0, height, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT, wrapmode=wrap)

    def code(self, text: str) -> None:
        """Write commands and configs on a shade."""
        self._style(7.5)
        self.set_fill_color(*SHADE)
        self.multi_cell(
            0, 4, text, align="L", fill=True, padding=2, new_x=XPos.LMARGIN, new_y=YPos.NEXT, wrapmode=WrapMode.CHAR
        )
        self.ln(1)

    def rows(self, frame: pd.DataFrame) -> None:
        """Write a table whose head is repeated on every page."""
        self._style(7)
        self.set_draw_color(*LINE)
        self.set_fill_color(255)
        widths = [WIDTHS.get(str(name), 2.0) for name in frame.columns]
        with self.table(
            col_widths=tuple(widths),
            line_height=3.9,
            padding=(0.8, 1.2),
            borders_layout="HORIZONTAL_LINES",
            headings_style=FontFace(emphasis="BOLD", fill_color=SHADE, color=INK),
            text_align="LEFT",
            v_align="TOP",
            wrapmode=WrapMode.WORD,
        ) as table:
            for line in ([*map(str, frame.columns)], *frame.astype(str).to_numpy().tolist()):
                row = table.row()
                for text in line:
                    row.cell(text)


def render(report: Report) -> bytes:
    """Return the file."""
    page = _Document(report)
    page.add_page()
    page.heading(f"DQF Studio report: {report.title}", 15)
    page.paragraph("Measured on the files that ship, each loaded again in a fresh process.", 8.5, QUIET)
    page.ln(2)
    for one in report.lead:
        page.paragraph(one, 9.5)
        page.ln(1)
    _charts(page, report)
    page.heading("The rows")
    page.rows(report.table)
    page.paragraph("In brackets: 95 % intervals. Numbers in the charts are those of the rows.", 7.5, QUIET)
    for title, frame in (
        ("Differences against the teacher, on the same examples (paired, p corrected by Holm)", report.differences),
        ("Where it will run", report.advice),
    ):
        if not frame.empty:
            page.heading(title)
            page.rows(frame)
    page.heading("How to read it")
    for one in report.notes:
        page.paragraph(one)
        page.ln(1)
    page.heading("How it was measured, and how to make it again")
    for at in range(len(report.runs)):
        _run(page, report, at)
    return bytes(page.output())


def _charts(page: _Document, report: Report) -> None:
    page.ln(3)
    top, gap = page.get_y(), 8.0
    width = (page.epw - gap) / 2
    for at, axis in enumerate((SIZE, LATENCY)):
        scatter(page, report.variants, axis, SCORE, (page.l_margin + at * (width + gap), top, width, CHART_HEIGHT))
    page.set_xy(page.l_margin, top + CHART_HEIGHT + 2)


def _run(page: _Document, report: Report, at: int) -> None:
    run = report.runs[at]
    used = report.table.loc[(report.variants["run_id"] == run.run_id).to_numpy(), "#"]
    page.heading(f"Run {run.run_id}: rows {', '.join(used)}", 9.5)
    _pairs(page, run.facts)
    page.ln(1)
    page.paragraph(f"Save the config below as {run.run_id}-config.json (the HTML report holds it too) and run:")
    page.code(run.command)
    page.code(json.dumps(json.loads(run.config)))


def _pairs(page: _Document, facts: Sequence[tuple[str, str]]) -> None:
    page._style(7.5)
    page.set_fill_color(255)
    with page.table(
        col_widths=(1, 9),
        line_height=4,
        padding=(0.5, 1.2),
        first_row_as_headings=False,
        borders_layout="NONE",
        v_align="TOP",
        text_align="LEFT",
        wrapmode=WrapMode.WORD,
    ) as table:
        for name, value in facts:
            row: Any = table.row()
            row.cell(name, style=FontFace(color=QUIET))
            row.cell(value)
