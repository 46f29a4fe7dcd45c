"""One run: state and buttons, and its parts in tabs, of which only the open one is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dqf.errors import ConfigError, UserError
from dqf.jobs import actions, protocol
from dqf.jobs.views import RunView, StageView, read_run, tail_log
from dqf.sweeps.work import reason_to_wait
from dqf.ui import components, suspicious, variant_table
from dqf.ui import format as fmt
from dqf.ui.charts import CONFIG, loss_curves
from dqf.ui.receipt import view as receipt_view
from dqf.ui.runs import exports as export_view
from dqf.ui.runs import runtimes
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio
from dqf.ui.theme import STAGES, STATES

PART_KEY, LIVE_PART_KEY = "part", "live_part"
"""Two choices of a tab, so that the one made while a run worked does not hide its results when it has ended."""
RESULTS, WORK = "Results", "Stages and log"
REFRESH_S = 1.0
LOG_LINES = 200


def show(studio: Studio, run_dir: Path) -> None:
    """Render a run; while it lives, the live part renders itself again every second."""
    view = read_run(run_dir)
    st.subheader("Chosen run", anchor=False)
    _buttons(studio, view)
    live = view.state in protocol.LIVE_STATES
    st.fragment(_summary_part, run_every=REFRESH_S if live else None)(studio, run_dir, view.state)
    parts = _parts(studio, view)
    if view.state == protocol.SUCCEEDED:
        _tabs(parts, PART_KEY)
    else:
        with st.container():  # deeper than the tabs of an ended run: at the same place the browser keeps the open tab
            _tabs(parts, LIVE_PART_KEY)


def _tabs(parts: dict[str, Callable[[], None]], key: str) -> None:
    tabs = st.tabs(list(parts), key=key, bind="query-params", on_change="rerun")
    for tab, draw in zip(tabs, parts.values(), strict=True):
        if tab.open:
            with tab:
                draw()


def _parts(studio: Studio, view: RunView) -> dict[str, Callable[[], None]]:
    """Return what there is to see of a run, by the name of its tab."""
    refresh = REFRESH_S if view.state in protocol.LIVE_STATES else None
    parts: dict[str, Callable[[], None]] = {}
    if view.state == protocol.SUCCEEDED:
        rows = _variants(studio, view.run_id)
        parts[RESULTS] = lambda: _results(studio, view, rows)
        if len(receipt_view.quantized(rows)):
            parts["Receipts"] = lambda: receipt_view.of_run(studio, rows)
        if len(rows):
            parts["Runtimes"] = lambda: runtimes.show(studio, rows)
            parts["Take it elsewhere"] = lambda: export_view.show(studio, view.run_dir, rows)
    parts[WORK] = lambda: st.fragment(_work_part, run_every=refresh)(view.run_dir)
    parts["Config"] = lambda: _config(view)
    return parts


def _variants(studio: Studio, run_id: str) -> pd.DataFrame:
    """Return the variants of a run that ended well, also in the moment before the supervisor has taken them in."""

    def found() -> pd.DataFrame:
        variants = studio.variants()
        return variants[variants["run_id"] == run_id]

    rows = found()
    if rows.empty:
        studio.take_in(run_id)
        rows = found()
    return rows


def _summary_part(studio: Studio, run_dir: Path, rendered_state: str) -> None:
    view = read_run(run_dir)
    if view.state != rendered_state:
        st.rerun()  # buttons, table and results depend on the state
    _summary(view)
    if view.state == protocol.QUEUED:
        runs = studio.runs()
        at_work = runs.loc[runs["state"].isin((protocol.RUNNING, protocol.CANCELLING)), "run_id"]
        st.caption(reason_to_wait(studio.settings, next(iter(at_work), "")))


def _work_part(run_dir: Path) -> None:
    view = read_run(run_dir)
    left, right = st.columns((1, 1), gap="medium")
    with left:
        _stages(view)
    with right:
        _curves(view)
        if view.messages:
            st.markdown("##### Messages")
            st.text("\n".join(view.messages[-8:]))
    log = tail_log(run_dir, LOG_LINES)
    with st.expander("Log", icon=":material/terminal:", expanded=view.state == protocol.FAILED):
        if log:
            components.scrolling_code(log, None, 260)
        else:
            st.text("The worker has written nothing yet.")


def _summary(view: RunView) -> None:
    icon, color = STATES.get(view.state, (":material/help:", "gray"))
    done = sum(stage.status == "done" for stage in view.stages)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(view.state.capitalize(), icon=icon, color=color)  # type: ignore[arg-type]
        st.text(view.run_id)
        facts = [f"launched {fmt.moment(view.created)} UTC"]
        if view.started and view.finished:
            facts.append(f"took {fmt.duration((view.finished - view.started).total_seconds())}")
        if view.stages:
            facts.append(f"{done} of {len(view.stages)} stages")
        if view.eta_s is not None:
            facts.append(f"this stage ends in about {fmt.about(view.eta_s)}")
        st.caption(" · ".join(facts))
    if view.stages and view.state in protocol.LIVE_STATES:
        st.progress(done / len(view.stages))
    if view.stalled:
        components.notice("warning", "The worker has not been heard of for a minute. Cancel it, or wait.")
    if view.error:
        components.notice("error", f"The run is {view.state}.", view.error)


def _stages(view: RunView) -> None:
    st.markdown("##### Stages")
    if not view.stages:
        st.caption("The run waits for its turn." if view.state == protocol.QUEUED else "No stage has begun.")
    with st.container(gap="xsmall"):
        for stage in view.stages:
            _stage(stage)


def _stage(stage: StageView) -> None:
    icon, color = STAGES.get(stage.status, (":material/help:", "gray"))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f":{color}[{icon}]", width="content")
        st.text(stage.title)
        if stage.cache == "hit":
            st.badge("Cache hit", icon=":material/bolt:", color="violet", help="Computed by an earlier run and reused.")
        if stage.status == "running":
            st.badge("Running", color="blue")
        if stage.status != "waiting" and stage.seconds is not None:
            st.caption(fmt.duration(stage.seconds), width="content")
    if stage.status == "running" and stage.total:
        rest = f", about {fmt.about(stage.eta_s)} left" if stage.eta_s is not None else ""
        text = f"step {fmt.count(stage.step)} of {fmt.count(stage.total)}{rest}"
        st.progress(min(1.0, max(0.0, stage.step / stage.total)), text=text)


def _curves(view: RunView) -> None:
    st.markdown("##### Training loss")
    if not any(view.curves.values()):
        st.caption("Losses appear here when training begins. Cached trainings have none.")
        return
    students = {stage: points for stage, points in view.curves.items() if stage.startswith("student")}
    others = {stage: points for stage, points in view.curves.items() if stage not in students}
    for name, curves in (("Students", students), ("Teacher", others)):
        if any(curves.values()):
            st.plotly_chart(
                loss_curves(curves),
                config=CONFIG,
                key=f"loss_{name}_{view.run_id}",
                alt=f"{name}: training loss by step",
            )


def _buttons(studio: Studio, view: RunView) -> None:
    """Render cancel, resume and retry, each enabled only where it makes sense."""
    reference = view.run_dir.parent == studio.settings.reference_dir
    cancellable = view.state in (protocol.QUEUED, protocol.RUNNING)
    resumable = view.state in protocol.RESUMABLE_STATES and not reference
    with st.container(horizontal=True):
        if st.button("Cancel", icon=":material/stop_circle:", disabled=not cancellable, key="cancel_run"):
            _act("Asked the run to stop.", actions.cancel, studio, view)
        if st.button(
            "Resume",
            icon=":material/play_circle:",
            disabled=not resumable,
            key="resume_run",
            help="Goes on where it stopped; finished stages come from the cache.",
        ):
            _act("The run is back in the queue.", actions.resume, studio, view)
        if st.button(
            "Run again",
            icon=":material/replay:",
            disabled=view.state in protocol.LIVE_STATES,
            key="retry_run",
            help="A new run with the same config.",
        ):
            _act("A new run is in the queue.", actions.retry, studio, view)


def _act(done: str, action: Any, studio: Studio, view: RunView) -> None:
    try:
        result = action(studio.settings, view.run_id)
    except (ConfigError, UserError, OSError) as error:
        components.notice("error", "That did not work.", str(error))
        return
    run_id = result if action is actions.retry else view.run_id
    studio.take_in(run_id)
    components.flash(done)
    navigation.RUNS.go({"run": run_id})


def _results(studio: Studio, view: RunView, rows: pd.DataFrame) -> None:
    if rows.empty:
        components.notice(
            "error", "The result of this run cannot be read.", "Run it again: what its stages made is kept."
        )
        return
    told = suspicious.of_run(view.run_dir)
    if told:
        components.notice("warning", "Look at these figures before quoting them.", "\n".join(told))
    variant_table.show(rows, studio.scores(), key="run_results")
    variant_table.energy_caption(rows)
    keys = rows["key"].tolist()
    with st.container(horizontal=True):
        navigation.COMPARE.link("Compare these variants", query={"pick": keys})
        navigation.FRONTIER.link("See them on the frontier")
        navigation.PLAYGROUND.link("Ask them something", query={"run": view.run_id})
        navigation.REPORTS.link("Make a report", query={"run": view.run_id})


def _config(view: RunView) -> None:
    text = json.dumps(view.config, indent=2)
    st.download_button(
        "Download config",
        text,
        file_name=f"{view.run_id}-config.json",
        mime="application/json",
        icon=":material/download:",
        on_click="ignore",
    )
    st.caption("Run it from the command line:")
    st.code(f"python -m dqf run --config {view.run_id}-config.json", language=None)
    st.code(text, language="json", wrap_lines=True)
