"""What exactly a study ran, so that nobody has to believe it: models, data, machine, statistics, commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dqf.ui import format as fmt
from dqf.ui.findings.studies import Study
from dqf.ui.findings.tables import system_title

Part = Mapping[str, Any]


def show(study: Study, part: Part) -> None:
    """Render the method note."""
    st.subheader("Method: what was run", anchor=False)
    notes = [str(note) for note in part["notes"]]
    if notes:
        st.text("\n".join(f"• {note}" for note in notes))
    st.text("\n".join(sentences(study, part)))
    tasks = task_rows(study)
    if len(tasks):
        with st.expander("Tasks and their data", icon=":material/dataset:"):
            st.dataframe(
                tasks, hide_index=True, key="method_tasks", alt="Tasks with rows, metric and SHA-256 of the data"
            )
    runs = run_rows(study)
    if len(runs):
        with st.expander(f"Runs ({len(runs)})", icon=":material/list_alt:"):
            st.dataframe(runs, hide_index=True, height=300, key="method_runs", alt="Runs of the study by task and seed")
    with st.expander("Settings and environment", icon=":material/settings:"):
        st.json({"plan": study.facts.get("plan"), "environments": study.facts.get("environments")}, expanded=1)
    with st.expander("Make it again, check it", icon=":material/terminal:"):
        st.code(commands(study), language=None)
        st.caption(
            "The first command runs what is missing and analyses it; the second computes every figure again from the "
            "predictions and times beside it and names each value that differs."
        )


def sentences(study: Study, part: Part) -> list[str]:
    """Return what was run, one statement per line; outside names, so plain text."""
    baseline = part["baseline"]
    threads = " or ".join(str(one) for one in baseline.get("threads") or ()) or fmt.UNKNOWN
    seeds = ", ".join(str(seed) for seed in part["seeds"])
    quantized = [system_title(row) for row in part["variants"] if str(row["bits"]) != "16"]
    resamples = study.summary.get("n_resamples") or "an unknown number of"
    return [
        f"Teacher: {baseline.get('model')}, {baseline.get('precision')}, timed in "
        f"{_joined(baseline.get('runtimes'))} on {_joined(baseline.get('hardware'))}, {threads} threads.",
        f"Tasks: {_joined(part['tasks'])}; {part['n']} examples in all. Seeds of the students: {seeds}; all share "
        "the teacher of their task.",
        f"Quantized variants: {'; '.join(quantized) or 'none'}.",
        f"Intervals and p-values: paired bootstrap, {resamples} resamples of the examples within each task and of "
        "the seeds; corrected by Holm over the bit-widths.",
        "Latency: one example at a time, all variants of a run in turns, from the reloaded artifact.",
    ]


def task_rows(study: Study) -> pd.DataFrame:
    """Return one row per task: rows, metric, data."""
    tasks = study.facts.get("tasks")
    if not isinstance(tasks, Mapping):
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "Task": name,
            "Source": facts.get("source"),
            "Metric": facts.get("metric"),
            "Training rows": facts.get("train_n"),
            "Evaluated rows": facts.get("eval_n"),
            "Note": facts.get("note"),
            "SHA-256 of the data": facts.get("data_sha256"),
        }
        for name, facts in tasks.items()
        if isinstance(facts, Mapping)
    )


def run_rows(study: Study) -> pd.DataFrame:
    """Return the runs of a study, finished ones first."""
    rows = [
        {"Run": run.get("run_id"), "Task": run.get("task"), "Seed": run.get("seed"), "Settings": run.get("condition")}
        for run in study.facts.get("runs") or ()
        if isinstance(run, Mapping)
    ]
    return pd.DataFrame(rows)


def commands(study: Study) -> str:
    """Return how to make the study and how to check its figures."""
    folder = "results/reference" if study.reference else "results/studies"
    folder = folder if study.name == "reference" else f"{folder}/{study.name}"
    plan = study.name if study.reference else f"{study.name}.toml"
    return f"python -m dqf study {plan}\npython -m dqf study {folder} --check"


def _joined(names: Any) -> str:
    return ", ".join(str(name) for name in names or ()) or fmt.UNKNOWN
