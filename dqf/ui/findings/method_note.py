"""What exactly a study ran, so that nobody has to believe it: models, data, machine, statistics, commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dqf.ui import format as fmt
from dqf.ui.findings.studies import Study
from dqf.ui.findings.tables import system_title

Part = Mapping[str, Any]
OPTIONS = "distillation.options."
FURTHER_TEXTS = {
    "distillation.altered_copies": "altered copies of each row: {}",
    "distillation.transfer": "texts from elsewhere: {}",
}


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
        shown = ("plan", "kept", "environments")
        st.json({name: study.facts[name] for name in shown if study.facts.get(name)}, expanded=1)
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
        *_recipe(study),
        f"Quantized variants: {'; '.join(quantized) or 'none'}.",
        f"Intervals and p-values: paired bootstrap, {resamples} resamples of the examples within each task and of "
        "the seeds; corrected by Holm over the bit-widths.",
        "Latency: one example at a time, all variants of a run in turns, from the reloaded artifact.",
    ]


def _recipe(study: Study) -> list[str]:
    """Return how models were trained, distilled and quantized; nothing where the study does not keep it."""
    settings = study.facts.get("settings")
    if not isinstance(settings, Mapping) or not settings:
        return []
    several = any(isinstance(values, list) and len(values) > 1 for values in settings.values())

    def told(path: str) -> str:
        return _either(settings.get(path))

    options = [
        f"{path.removeprefix(OPTIONS).replace('_', ' ')} {told(path)}" for path in settings if path.startswith(OPTIONS)
    ]
    texts = [
        words.format(told(path))
        for path, words in FURTHER_TEXTS.items()
        if settings.get(path, [0]) not in ([0], ["none"])
    ]
    taught = told("distillation.method") + (f" ({'; '.join(options)})" if options else "")
    besides = f"; Student-KD's further texts, scored by the teacher: {'; '.join(texts)}" if texts else ""
    symmetric = {"yes": "symmetric", "no": "asymmetric"}.get(told("quantization.symmetric"), "symmetric or not")
    return [
        f"Teacher's training: {_training(settings, 'teacher')}. Student: {told('student.model')}, "
        f"{_training(settings, 'student')}.",
        f"Distillation: {taught}{besides}.",
        f"Quantizer: {told('quantization.quantizer')}, groups of {told('quantization.group_size')}, {symmetric}, "
        f"scales of {told('quantization.scale_bits')} bits, calibrated on {told('quantization.calibration_samples')} "
        f"texts of {told('quantization.calibration')}.",
        *(["Where values differ between runs, the plan below says which run had which."] if several else []),
    ]


def _training(settings: Mapping[str, Any], whose: str) -> str:
    words = {"epochs": "{} epochs", "batch_size": "batch size {}", "learning_rate": "learning rate {}"}
    return ", ".join(form.format(_either(settings.get(f"{whose}.{name}"))) for name, form in words.items())


def _either(values: Any) -> str:
    """Return values as text: `1, 2 or 4`."""
    if not isinstance(values, list) or not values:
        return fmt.UNKNOWN
    *first, last = [_shown(value) for value in values]
    return f"{', '.join(first)} or {last}" if first else last


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


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
    folder = fmt.short_path(study.folder)
    launched = study.folder.with_name(f"{study.folder.name}.json").is_file()  # from the app, which keeps its plan there
    plan = study.name if study.reference else f"{folder}.json" if launched else f"{study.name}.toml"
    return f"python -m dqf study {shlex.quote(plan)}\npython -m dqf study {shlex.quote(folder)} --check"


def _joined(names: Any) -> str:
    return ", ".join(str(name) for name in names or ()) or fmt.UNKNOWN
