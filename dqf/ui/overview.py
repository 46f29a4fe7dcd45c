"""The parts of the overview page."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dqf.jobs import protocol
from dqf.ui import components, frames, paper, suspicious
from dqf.ui import format as fmt
from dqf.ui.axes import SCORE, SIZE
from dqf.ui.frontier.picture import picture
from dqf.ui.launch.submit import launch_preset
from dqf.ui.shell import navigation
from dqf.ui.studio import Studio
from dqf.ui.theme import STATES


def introduction() -> None:
    """Say in two sentences what this is."""
    st.markdown(
        "DQF Studio makes a language model smaller: a large teacher is distilled into a small student, and the "
        "student is quantized. Every figure here was **measured on the file that ships**, loaded again in a fresh "
        "process and timed beside its teacher."
    )


WAYS = (
    (navigation.LAUNCH, "Compress a model for your task", "Teacher, student, bits; the cost in time and memory first."),
    (navigation.FRONTIER, "See what a byte or a millisecond buys", "Every variant with its interval; set your limits."),
    (navigation.PLAYGROUND, "Ask all variants the same text", "Where the small model answers as its teacher does."),
    (navigation.FINDINGS, "Check the paper's claims", "Three hypotheses, tested on measured figures."),
)
"""What people come for: page, wish, and what they find there."""


def ways_on() -> None:
    """Say what can be done here, one card per wish."""
    st.subheader("What you can do here", anchor=False)
    for column, (place, wish, found) in zip(st.columns(len(WAYS)), WAYS, strict=True):
        with column.container(border=True, height="stretch", gap="xxsmall"):
            st.markdown(f"**{wish}**")
            st.caption(found)
            place.link(f"Go to {place.title}")


def launch_button(studio: Studio) -> None:
    """Render the button that launches the starter."""
    if st.button("Launch the starter", type="primary", icon=":material/rocket_launch:", key="launch_starter"):
        launch_preset(studio, "starter")


def nothing_yet(studio: Studio, runs: pd.DataFrame) -> None:
    """Render the page of a fresh installation."""
    if runs["state"].isin(protocol.LIVE_STATES).any():
        newest = str(runs["run_id"].iloc[0])
        components.empty_state(
            ":material/hourglass_top:",
            "No run has finished yet; the first results will appear here.",
            lambda: navigation.RUNS.link("Watch the newest run", query={"run": newest}),
        )
    else:
        components.empty_state(
            ":material/rocket_launch:",
            "Nothing has been measured yet. The starter needs no model hub and takes a few minutes.",
            lambda: _first_steps(studio, runs),
        )
    ways_on()
    st.subheader("What the paper claims", anchor=False)
    _claims(None)


def _first_steps(studio: Studio, runs: pd.DataFrame) -> None:
    launch_button(studio)
    if len(runs):
        navigation.RUNS.link("See what became of the runs", query={"run": str(runs["run_id"].iloc[0])})


def live_run(runs: pd.DataFrame) -> None:
    """Point to the run that works, if one does."""
    live = runs[runs["state"].isin(protocol.LIVE_STATES)]
    if len(live):
        working = live[live["state"] != protocol.QUEUED]
        one = working.iloc[0] if len(working) else live.iloc[-1]
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            icon, color = STATES[str(one["state"])]
            st.badge(str(one["state"]).capitalize(), icon=icon, color=color)  # type: ignore[arg-type]
            st.text(str(one["run_id"]))
            navigation.RUNS.link("Watch it", query={"run": str(one["run_id"])})


def show(studio: Studio, variants: pd.DataFrame) -> None:
    """Render the newest run's best variant, its frontier and the paper's claim beside it."""
    newest = frames.newest_run_with_variants(variants)
    chosen = frames.headline_variant(newest)
    if chosen is None:
        components.notice("warning", "The newest run has no verified student variant.")
        navigation.RUNS.link("Look at its stages", query={"run": str(newest["run_id"].iloc[0])})
        best = None
    else:
        best, rule = chosen
        _headline(best, rule)
        suspicious.pointer(studio, str(best["run_id"]))
    left, right = st.columns((3, 2), gap="medium")
    with left, st.container(border=True, height="stretch"):
        st.markdown("##### Size against score, all variants of this run", width="stretch")
        alt = f"Score against size of this run's {len(newest)} variants; the frontier page holds the same figures"
        st.html(picture(newest, SIZE, SCORE, alt))
        navigation.FRONTIER.link("Explore the frontier")
    with right, st.container(border=True, height="stretch"):
        st.markdown("##### Measured here, and the paper's claim", width="stretch")
        _claims(best)
    ways_on()


def _headline(best: pd.Series[Any], rule: str) -> None:
    st.subheader("A run that ships with the Studio" if best["reference"] else "Newest run", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge("Verified", icon=":material/verified:", color="green")
        st.text(f"{best['name']} · {best['task']}")
        st.caption(rule)
    teacher_bytes = best["size_bytes"] * best["compression_ratio"]
    examples = f"n {fmt.count(best['n'])}"
    components.metric_row(
        (
            components.Figure(
                "Size",
                fmt.size(best["size_bytes"]),
                "",
                f"{fmt.times(best['compression_ratio'])} smaller than the teacher's "
                f"{fmt.size(teacher_bytes)} (FP16 file)",
                "Bytes of the weight files that must ship; 1 MB is 1 000 000 bytes.",
            ),
            components.Figure(
                "Speed",
                f"{fmt.times(best['speedup'])} faster",
                fmt.times_interval(best["speedup_ci95_low"], best["speedup_ci95_high"]),
                f"{fmt.milliseconds(best['latency_ms_p50'])} against the teacher's "
                f"{fmt.milliseconds(best['teacher_latency_ms'])} (p50)",
                "Median time of one example, batch 1, timed in turns with the teacher.",
            ),
            components.Figure(
                "Score",
                fmt.percent(best["score"]),
                _join(fmt.percent_interval(best["score_ci95_low"], best["score_ci95_high"]), examples),
                f"teacher {fmt.percent(best['teacher_score'])}",
                "The task's own metric, averaged where a run has several tasks.",
            ),
            components.Figure(
                "Retention",
                fmt.percent(best["retention"]),
                _join(fmt.percent_interval(best["retention_ci95_low"], best["retention_ci95_high"]), examples),
                "of the teacher's score",
                "Score divided by the teacher's score on the same examples.",
            ),
        )
    )
    st.text(
        f"Baseline: {best['teacher']}, FP16 weight file, timed in {best['baseline_runtime'] or 'an unknown runtime'}. "
        f"Variant timed in {best['runtime'] or 'an unknown runtime'}. {best['hardware'] or 'Unknown hardware'}, "
        f"{fmt.count(best['threads'])} threads, seed {fmt.count(best['seed'])}, run {best['run_id']}."
    )


def _claims(best: pd.Series[Any] | None) -> None:
    """Render the paper's three figures next to the measured ones."""
    teacher, dqf = paper.TABLE_1
    columns = [["Figure", "Times smaller", "Times faster", "Score kept"]]
    if best is not None:
        smaller, faster = fmt.times(best["compression_ratio"]), fmt.times(best["speedup"])
        kept = fmt.percent(best["retention"])
        columns.append(
            [
                "Measured here",
                smaller,
                _with_range(faster, best["speedup_ci95_low"], best["speedup_ci95_high"], 1),
                _with_range(kept, best["retention_ci95_low"], best["retention_ci95_high"], 100),
            ]
        )
    columns.append(
        [
            "Paper, simulated",
            fmt.times(dqf.smaller(teacher)),
            fmt.times(dqf.faster(teacher)),
            fmt.percent(dqf.retention(teacher)),
        ]
    )
    head, *rows = [" | ".join(row) for row in zip(*columns, strict=True)]
    rule = " | ".join([":---", *["---:"] * (len(columns) - 1)])
    # No dataframe: its code alone, two megabytes, took the first page's time.
    st.markdown("\n".join(f"| {row} |" for row in (head, rule, *rows)), width="stretch")
    st.caption(
        f"{paper.LABEL}: a 13.5 GB teacher at 4 bits on GLUE. Another model on another machine: a claim to test, "
        "not a result to match." + ("" if best is None else " In brackets: 95 % intervals.")
    )


def _with_range(text: str, low: Any, high: Any, scale: float) -> str:
    if not (fmt.known(low) and fmt.known(high)):
        return text
    return f"{text} ({scale * low:.1f}–{scale * high:.1f})"


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
