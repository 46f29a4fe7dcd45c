"""Studies launched from the app that have results which no analysis speaks of yet."""

from __future__ import annotations

import streamlit as st

from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.settings import Settings
from dqf.study import own
from dqf.study.own import OwnStudy
from dqf.ui import components
from dqf.ui import format as fmt
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio

REFRESH_S = 2.0


def show(studio: Studio) -> None:
    """Render each study that is under way or waits for its analysis; they render themselves again while they change."""
    pending = _pending(studio.settings)
    if not pending:
        return
    moving = any(one.live or one.analysing for one in pending)
    st.fragment(_cards, run_every=REFRESH_S if moving else None)(studio, _marks(pending))


def _pending(settings: Settings) -> list[OwnStudy]:
    return [one for one in own.own_studies(settings) if one.analysed < one.count or one.analysing or one.problem]


def _marks(pending: list[OwnStudy]) -> tuple[tuple[str, int, bool, bool], ...]:
    """Return what the rest of the page depends on."""
    return tuple((one.plan.name, one.analysed, one.analysing, one.live) for one in pending)


def _cards(studio: Studio, rendered: tuple[tuple[str, int, bool, bool], ...]) -> None:
    pending = _pending(studio.settings)
    if _marks(pending) != rendered:
        st.rerun()  # an analysis has ended, or began: the list of studies is another one
    for one in pending:
        with st.container(border=True, gap="small"):
            _card(studio, one)


def _card(studio: Studio, one: OwnStudy) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.text(one.plan.title, width="stretch")
        fresh = one.done > one.analysed
        if st.button(
            "Analysing ..." if one.analysing else "Analyse",
            icon=":material/fact_check:",
            key=f"analyse_{one.plan.name}",
            type="primary" if fresh and not one.live else "secondary",
            disabled=one.analysing or not fresh,
            help="Averages, intervals and verdicts of the runs that are done; again when more are.",
        ):
            try:
                own.analyse(studio.settings, one)
            except (UserError, OSError) as error:
                components.notice("error", "The analysis could not be started.", str(error))
                return
            st.rerun()
        navigation.RUNS.link("Runs")
    st.progress(one.done / one.count, text=_told(one))
    if one.problem:
        components.notice("error", "The last analysis failed.", one.problem)


def _told(one: OwnStudy) -> str:
    """Return how far a study is: `5 of 9 runs are done, 1 running, 3 queued; none is analysed yet`."""
    others = [f"{number} {state}" for state, number in one.states.items() if number and state != protocol.SUCCEEDED]
    runs = ", ".join([f"{one.done} of {fmt.plural(one.count, 'run')} done", *others])
    return f"{runs}; {one.analysed or 'none'} analysed"
