"""What training and serving took in a study: time, weights, memory, latency, throughput and energy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dqf.evaluate.evidence import FASTEST
from dqf.study.files import LATENCY, VARIANTS
from dqf.ui import components
from dqf.ui import format as fmt
from dqf.ui.findings import tables
from dqf.ui.findings.studies import Study
from dqf.ui.theme import variant_title
from dqf.ui.variant_table import energy_note, energy_source

COLUMNS = ["train_seconds", "trained_params", "train_peak_memory_bytes"]
SERVING = [
    "throughput_per_s",
    "energy_j_per_1000",
    "energy_source",
    "energy_watts_per_core",
    "peak_rss_bytes",
    "load_ms",
]
KEY = ["condition", "task", "seed", "variant", "bits"]
TRAINED = ("teacher", "student-ft", "student-kd")
"""Quantized variants are made from these."""


def show(study: Study) -> None:
    """Render a row per trained model and setting; nothing where a study's table does not hold what training took."""
    rows = table(study)
    if rows.empty:
        return
    st.subheader("What training took", anchor=False)
    number = st.column_config.NumberColumn
    st.dataframe(
        rows,
        hide_index=True,
        height=components.table_height(len(rows), most=13),
        key="findings_costs",
        column_config={
            "Model": st.column_config.TextColumn(pinned=True, width=130),
            "Score (%)": number(format="%.1f", help="Macro average over tasks, mean over seeds, FP16."),
            "Time (s)": number(format="%.0f", help="Of one training, mean over tasks and seeds."),
            "Trained (M)": number(format="%.1f", help="Weights that training changed."),
            "Peak memory (GB)": number(format="%.1f", help="Of the process, mean over tasks and seeds."),
        },
        alt="Score, training time, trained weights and peak memory of teacher and students by setting",
    )
    st.caption(
        "Quantized variants are made from these. A training that runs share counts with the time it took once. "
        + _without(study.conditions[0])
    )


def show_serving(study: Study, part: Mapping[str, Any]) -> None:
    """Render a row per variant: latency in full, throughput, memory and energy; nothing where it was not kept."""
    rows = serving_table(study, part)
    if rows.empty:
        return
    st.subheader("What serving takes", anchor=False)
    number = st.column_config.NumberColumn
    st.dataframe(
        rows,
        hide_index=True,
        height=components.table_height(len(rows), most=13),
        key="findings_serving",
        placeholder=fmt.UNKNOWN,
        column_config={
            "Variant": st.column_config.TextColumn(pinned=True, width=190),
            **{f"{name} (ms)": number(format="%.2f") for name in ("p50", "p90", "Mean", "SD")},
            "Batch 8 (/s)": number(format="%.0f", help="Examples per second in batches of 8."),
            "Energy (J/1000)": number(format="%.1f", help="For 1000 examples in batches of 8."),
            "Memory (MB)": number(format="%.0f", help="Peak resident memory of the process that evaluated it."),
            "Load (ms)": number(format="%.0f"),
        },
        alt="Latency, throughput, energy and memory of every variant, averaged over tasks and seeds",
    )
    st.caption(
        "Each variant in the runtime that serves it: the fastest faithful one, unless the study asked for another. One "
        "example at a time unless batches are named. Times and throughput: geometric mean over tasks and seeds of each "
        "run's own; the rest: mean. " + _without(part) + energy_note(_read_serving(*_stamped(study.folder / VARIANTS)))
    )


def serving_table(study: Study, part: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row per variant of a condition, empty without figures."""
    try:
        stamps = tuple(_stamped(study.folder / name) for name in (VARIANTS, LATENCY))
        return _serving(stamps, str(part["condition"]), part)
    except (OSError, ValueError, KeyError):
        return pd.DataFrame()


@st.cache_data(max_entries=32, show_spinner=False)
def _serving(stamps: tuple[tuple[str, int], ...], condition: str, _part: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table; a page is rendered at every click, and the passes are a hundred thousand."""
    variants, times = (
        tables.timed_alike(frame[frame["condition"] == condition], _part)
        for frame in (_read_serving(*one) for one in stamps)
    )
    times = times[times["session"] == FASTEST]
    rows = []
    for row in _part["variants"]:
        runs, passes = (
            frame[(frame["variant"] == row["variant"]) & (frame["bits"] == str(row["bits"]))]
            for frame in (variants, times)
        )
        if runs.empty or passes.empty:
            continue
        of_runs = passes.groupby(["task", "seed"], observed=True)["ms"]
        ms = {"p50": of_runs.median(), "p90": of_runs.quantile(0.9), "Mean": of_runs.mean(), "SD": of_runs.std()}
        sources = sorted({energy_source(one) for one in runs["energy_source"].dropna()})
        rows.append(
            {
                "Variant": tables.system_title(row),
                **{f"{name} (ms)": _geometric_mean(values) for name, values in ms.items()},
                "Batch 8 (/s)": _geometric_mean(runs["throughput_per_s"]),
                "Energy (J/1000)": runs["energy_j_per_1000"].astype(float).mean(),
                "Energy is": ", ".join(sources) or fmt.UNKNOWN,
                "Memory (MB)": runs["peak_rss_bytes"].astype(float).mean() / 1e6,
                "Load (ms)": runs["load_ms"].astype(float).mean(),
            }
        )
    return pd.DataFrame(rows)


def _without(part: Mapping[str, Any]) -> str:
    """Return a sentence on the tasks that are not in the means, with a space behind it; empty if all are."""
    elsewhere = ", ".join(tables.timed_elsewhere(part))
    return f"Without {elsewhere}, made on another machine. " if elsewhere else ""


def _geometric_mean(values: pd.Series) -> float | None:
    usable = values.dropna().astype(float)
    return float(np.exp(np.log(usable).mean())) if len(usable) and (usable > 0).all() else None


def _stamped(path: Path) -> tuple[str, int]:
    return str(path), path.stat().st_mtime_ns


def table(study: Study) -> pd.DataFrame:
    """Return a row per setting and trained model, empty without figures."""
    path = study.folder / VARIANTS
    try:
        variants = _read(str(path), path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError):
        return pd.DataFrame()
    several = len(study.conditions) > 1
    rows = []
    for part in study.conditions:
        for variant in TRAINED:
            found = variants[(variants["condition"] == part["condition"]) & (variants["variant"] == variant)]
            found = tables.timed_alike(found, part)
            if found[COLUMNS].dropna().empty:
                continue
            seconds, params, memory = found[COLUMNS].mean()
            rows.append(
                {
                    "Model": variant_title(variant),
                    **({"Settings": part["condition"]} if several else {}),
                    "Score (%)": _score(part, variant),
                    "Time (s)": seconds,
                    "Trained (M)": params / 1e6,
                    "Peak memory (GB)": memory / 1e9,
                }
            )
    return pd.DataFrame(rows)


def _score(part: Mapping[str, Any], variant: str) -> float | None:
    found = tables.figures(part, variant)
    return None if found is None else 100 * float(found["score"])


@st.cache_data(max_entries=16, show_spinner=False)
def _read_serving(path: str, mtime_ns: int) -> pd.DataFrame:
    wanted = [*KEY, "session", "ms"] if path.endswith(LATENCY) else [*KEY, *SERVING]
    return pd.read_parquet(Path(path), columns=wanted)


@st.cache_data(max_entries=16, show_spinner=False)
def _read(path: str, mtime_ns: int) -> pd.DataFrame:
    return pd.read_parquet(Path(path), columns=["condition", "task", "variant", *COLUMNS])
