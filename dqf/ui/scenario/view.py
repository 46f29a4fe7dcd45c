"""The parts of the Scenarios page: which rows count, a card per scenario, the rows themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from dqf.ui import addressed, components, frames
from dqf.ui import format as fmt
from dqf.ui.frontier import budget_view
from dqf.ui.frontier.budgets import Budget, doubt
from dqf.ui.scenario import advice as scenarios
from dqf.ui.scenario.advice import Advice, Scenario
from dqf.ui.shell import navigation

ALL = "All runs of its task and machine"
RUN = "run"
BADGES = {
    scenarios.AGREES: (":material/check:", "green"),
    scenarios.DISAGREES: (":material/alt_route:", "orange"),
    scenarios.TIE: (":material/drag_handle:", "blue"),
    scenarios.UNTESTED: (":material/help:", "gray"),
    scenarios.NOTHING: (":material/block:", "red"),
}
WORDS = {
    scenarios.AGREES: "Textbook agrees",
    scenarios.DISAGREES: "Textbook disagrees",
    scenarios.TIE: "Textbook's is as good",
    scenarios.UNTESTED: "Textbook not tested",
    scenarios.NOTHING: "Nothing fits",
}


def choose(variants: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Render the choice of rows and the allowed loss; both are in the address.

    Returns:
        Rows of one task, measured on one machine, and the loss as a share.
    """
    runs = list(dict.fromkeys(variants["run_id"]))
    first = str(frames.newest_run_with_variants(variants)["run_id"].iloc[0])
    left, middle, right = st.columns((3, 2, 2), gap="medium", vertical_alignment="bottom")
    with left:
        run_id = addressed.select(
            "Run", runs, lambda: first, parameter=RUN, key="scenario_run", gone=addressed.NO_RESULTS
        )
    together = middle.toggle(
        ALL,
        key="together",
        bind="query-params",
        help="Variants of one run were timed in turns; between runs, the machine's own drift comes in.",
    )
    with right:
        loss = budget_view.loss_slider()
    chosen = variants[variants["run_id"] == run_id]
    if together:
        alike = [variants[name].isin(chosen[name]) for name in ("task", "threads", "hardware")]
        chosen = variants[np.logical_and.reduce(alike)]
    return chosen, loss


def cards(found: Sequence[Advice], loss: float) -> None:
    """Render the scenarios two by two."""
    for pair in (found[:2], found[2:]):
        for column, advice in zip(st.columns(2, gap="medium"), pair, strict=True):
            with column.container(border=True, height="stretch", gap="small"):
                _card(advice, loss)


def _card(advice: Advice, loss: float) -> None:
    scenario = advice.scenario
    icon, color = BADGES[advice.verdict]
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(f"##### {scenario.icon} {scenario.title}", width="content")
        st.badge(WORDS[advice.verdict], icon=icon, color=color)  # type: ignore[arg-type]
    st.caption(f"What counts: {scenario.counts}.")
    if advice.best is not None:
        with st.container(gap="xxsmall"):
            st.markdown(f"### {scenario.text(advice.best)}")
            st.text(str(advice.best["name"]))
            st.caption(_facts(advice))
    with st.container(gap="xxsmall"):
        st.caption("Textbook")
        st.markdown(scenario.advice)
    with st.container(gap="xxsmall"):
        st.caption("Your rows")
        st.text(advice.sentence + (doubt(advice.best, Budget(loss=loss)) if advice.best else ""))
        if advice.best is not None:
            st.text(f"Row {advice.best['run_id']}/{advice.best['variant_id']}")


def _facts(advice: Advice) -> str:
    row = advice.best or {}
    parts = [f"{fmt.times(advice.gain)} better than the teacher"] if fmt.known(advice.gain) else []
    interval = fmt.percent_interval(row["score_ci95_low"], row["score_ci95_high"])
    parts.append(f"score {fmt.percent(row['score'])}" + (f" ({interval}, n {fmt.count(row['n'])})" if interval else ""))
    parts.append(f"{fmt.points(row['score'] - row['teacher_score'])} against its teacher")
    return " · ".join(parts)


def rows(shown: pd.DataFrame, found: tuple[Scenario, ...], loss: float) -> None:
    """Render the rows that were judged, and what may not be read into them."""
    st.markdown("##### The rows behind it")
    times = st.column_config.NumberColumn(format="%.1f×", help="How many times better than the teacher.")
    number = st.column_config.NumberColumn
    table = scenarios.table(shown, found, loss)
    st.dataframe(
        table,
        hide_index=True,
        height=components.table_height(len(table)),
        column_config={
            "Variant": st.column_config.TextColumn(pinned=True, width=200),
            **{one.title: times for one in found},
            "Texts/s": number(format="%.0f"),
            "Memory (MB)": number(format="%.0f", help="Peak resident memory of the process that evaluated it."),
            "p90 (ms)": number(format="%.2f"),
            "Size (MB)": number(format="%.1f"),
            "Score (%)": st.column_config.ProgressColumn(format="%.1f", min_value=0, max_value=100),
        },
        alt="Every row with its figure in each scenario",
    )
    one = shown.iloc[0]
    machine = f"{one['hardware'] or 'unknown hardware'}, {fmt.count(one['threads'])} threads"
    st.text(
        f"Task {one['task']}, all measured on {machine}. Rows closer than {100 * scenarios.CLOSE:g} % count as even. "
        "On another machine, a phone above all, they may rank differently: measure there before you decide."
    )
    with st.container(horizontal=True):
        navigation.COMPARE.link("Compare these rows", query={"pick": shown["key"].head(24).tolist()})
        navigation.FRONTIER.link("Set limits of your own on the frontier")


def nothing_yet() -> None:
    """Render the page of a store without variants."""
    components.empty_state(
        ":material/alt_route:",
        "No variant has been measured yet; advice needs rows.",
        lambda: navigation.LAUNCH.link("Set up a launch"),
    )
