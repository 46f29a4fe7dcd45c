"""The three hypotheses as cards: verdict, effect and sentence, and the rows behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import streamlit as st

from dqf.ui.findings import tables

Color = Literal["green", "red", "gray"]
CLAIMS = {
    "H1": ("Smaller and closer", "Far smaller than Student-KD, and closer to the teacher than Student-PTQ."),
    "H2": (
        "Fastest",
        "Student-DQF has the lowest latency of all variants, each in its fastest runtime and all in one.",
    ),
    "H3": (
        "Distillation protects",
        "Student-KD keeps a larger share of its own score after quantization than Student-FT.",
    ),
}
LOOKS: Mapping[str, tuple[str, Color]] = {
    "supported": (":material/check_circle:", "green"),
    "refuted": (":material/cancel:", "red"),
    "undecided": (":material/help:", "gray"),
}
MARKS = {"supported": "✓", "refuted": "✕", "undecided": "?"}


def show(part: Mapping[str, Any], bits: str) -> None:
    """Render one card per hypothesis, over all bit-widths and at the chosen one, and the rows behind them."""
    st.subheader("The paper's hypotheses, tested", anchor=False)
    groups = {name: list(part["verdicts"].get(name) or ()) for name in CLAIMS}
    if not any(groups.values()):
        st.caption("Tests need all five variants of a task at a common bit-width; no task has them yet.")
        return
    for column, (name, verdicts) in zip(st.columns(len(groups), gap="small"), groups.items(), strict=True):
        with column.container(border=True, height="stretch", gap="small"):
            _card(name, verdicts, bits)
    st.caption(
        "Supported or refuted: the 95 % interval excludes no effect and the p-value, corrected (Holm) over the "
        "bit-widths, is below 0.05. For H1 and H3 the interval must do so without any one task, too, and tasks whose "
        "teacher gives one answer to all do not count. For H2 all students are one network where they share a runtime: "
        "there a lead must be more than 5 %. All else is undecided. A refuted hypothesis is a result. The tasks are "
        "fixed: a verdict speaks of these tasks."
    )
    with st.expander("Effect, interval and p-value at each bit-width", icon=":material/table_rows:"):
        tested = {name: verdicts for name, verdicts in groups.items() if verdicts}
        for tab, (name, verdicts) in zip(st.tabs(list(tested)), tested.items(), strict=True):
            with tab:
                _rows(name, verdicts)


def _card(name: str, verdicts: list[Mapping[str, Any]], bits: str) -> None:
    title, claim = CLAIMS[name]
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(f"##### {name} · {title}", width="content")
        if verdicts:
            _badge(str(verdicts[-1]["verdict"]))
    st.caption(claim)
    if not verdicts:
        st.text("Not tested.")
        return
    with st.container(horizontal=True, gap="small"):
        for one in verdicts[:-1]:
            verdict = str(one["verdict"])
            st.badge(
                f"{tables.bits_title(one['bits'])} {MARKS.get(verdict, '?')}",
                color=LOOKS.get(verdict, LOOKS["undecided"])[1],
                help=f"{tables.bits_title(one['bits'])}: {verdict if verdict in LOOKS else 'undecided'}",
            )
    st.text(str(verdicts[-1]["sentence"]))
    chosen = [str(one["sentence"]) for one in verdicts[:-1] if one["bits"] == bits]
    if chosen and len(verdicts) > 2:  # of a single bit-width the sentence over all says the same
        st.text(chosen[0])


def _badge(verdict: str) -> None:
    icon, color = LOOKS.get(verdict, LOOKS["undecided"])
    st.badge(verdict.capitalize() if verdict in LOOKS else "Undecided", icon=icon, color=color)


def _rows(name: str, verdicts: list[Mapping[str, Any]]) -> None:
    st.dataframe(
        tables.verdict_table(verdicts),
        hide_index=True,
        key=f"verdicts_{name}",
        alt=f"{name}: verdict, effect, interval and p-values at each bit-width",
    )
    st.text("\n".join(str(one["sentence"]) for one in verdicts))
    details = {tables.bits_title(one["bits"]): one["details"] for one in verdicts if one.get("details")}
    if details:
        st.json(details, expanded=False)
