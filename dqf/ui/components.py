"""Parts that every page uses: header, notices, empty states, metric rows.

Texts that came from outside (names, messages, logs) go through `st.text` or `st.code`, never
through Markdown: Markdown images would fetch remote addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dqf.errors import UserError
from dqf.ui.studio import Studio, open_studio

Kind = Literal["info", "warning", "error", "success"]
_BOXES: dict[str, Callable[..., DeltaGenerator]] = {
    "info": st.info,
    "warning": st.warning,
    "error": st.error,
    "success": st.success,
}
_ICONS = {
    "info": ":material/info:",
    "warning": ":material/warning:",
    "error": ":material/error:",
    "success": ":material/check_circle:",
}


HEAD_PX, ROW_PX = 38, 35
"""Of Streamlit's tables."""


def start_page(title: str, subtitle: str = "") -> tuple[Studio, DeltaGenerator]:
    """Render the page's head and open the studio; say so if it cannot be opened as it should.

    Args:
        title: of the page.
        subtitle: one line below it, our own words.

    Returns:
        The studio, and the container right of the title for the page's controls.
    """
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        with st.container(width="content"):
            st.title(title, anchor=False)
            if subtitle:
                st.caption(subtitle)
        controls = st.container(horizontal=True, width="content", vertical_alignment="bottom")
    try:
        studio = open_studio()
    except UserError as error:
        notice("error", "The app's settings are not usable.", str(error))
        st.stop()
    if studio.problem:
        notice("warning", "The database is not available. Runs are read from their folders.", studio.problem)
    return studio, controls


def notice(kind: Kind, headline: str, detail: str = "") -> None:
    """Render a message box with our headline; the detail may hold outside text and is shown as such."""
    if not detail:
        _BOXES[kind](headline, icon=_ICONS[kind])
        return
    with st.container(border=True, gap="small"):
        _BOXES[kind](headline, icon=_ICONS[kind])
        st.text(detail)


def empty_state(icon: str, sentence: str, action: Callable[[], None] | None = None) -> None:
    """Render what a page shows when it has nothing to show: icon, one sentence, one way on."""
    with st.container(border=True, horizontal_alignment="center", gap="small"):
        st.space("small")
        st.markdown(f"# :gray[{icon}]", text_alignment="center", width="content")
        st.markdown(sentence, text_alignment="center", width="content")
        if action is not None:
            action()
        st.space("small")


@dataclass(frozen=True)
class Figure:
    """One number with what must stand beside it.

    Attributes:
        label: what it is, our own words.
        value: formatted.
        interval: interval and n, empty if not known; numbers and our own words only.
        note: what it is relative to; numbers and our own words only.
        help: explanation of the term.
    """

    label: str
    value: str
    interval: str = ""
    note: str = ""
    help: str = ""


def metric_row(figures: Sequence[Figure]) -> None:
    """Render numbers in bordered boxes of equal height."""
    for column, figure in zip(st.columns(len(figures)), figures, strict=True):
        with column.container(border=True, height="stretch", gap="xxsmall"):
            st.metric(figure.label, figure.value, help=figure.help or None)
            st.caption("  \n".join(part for part in (figure.interval, figure.note) if part))


def scrolling_code(text: str, language: str | None, height: int) -> None:
    """Render text that scrolls within a height in pixels; with its button inside, so that keys reach and scroll it."""
    with st.container(height=height):
        st.code(text, language=language, wrap_lines=True)


def table_height(rows: int, most: int = 16) -> int:
    """Return the pixels a table of so many rows takes.

    Args:
        rows: of the table.
        most: rows that are shown at once. Of more, half a row at the end says that there are others.
    """
    return round(HEAD_PX + ROW_PX * (rows if rows <= most else most - 0.5))


def flash(headline: str) -> None:
    """Keep a short message for the page that is shown next."""
    st.session_state["flash"] = headline


def show_flash() -> None:
    """Show and forget the message kept by `flash`."""
    headline = st.session_state.pop("flash", "")
    if headline:
        st.toast(headline, icon=":material/check_circle:")
