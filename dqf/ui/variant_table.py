"""The table of variants, the same on every page: units in the heads, progress columns, pinned name."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dqf.evaluate.energy import ESTIMATE, GPU_ESTIMATE, NVML, RAPL
from dqf.ui import components
from dqf.ui import format as fmt

ENERGY_SOURCES = {
    ESTIMATE: "estimated",
    GPU_ESTIMATE: "estimated, GPU",
    RAPL: "measured, processor",
    NVML: "measured, GPU",
}
ASSUMED = {
    ESTIMATE: "processor time of the serving process times an assumed {} W per busy core (DQF_WATTS_PER_CORE)",
    GPU_ESTIMATE: "time by the clock times an assumed {} W of the GPU (DQF_WATTS_PER_GPU)",
}


def build(variants: pd.DataFrame, scores: pd.DataFrame, with_run: bool = False) -> pd.DataFrame:
    """Return variants as people read them, with numbers in the units of the heads.

    Args:
        variants: with the columns of `dqf.ui.frames.derive`.
        scores: one row per variant and task.
        with_run: whether to name the run (needed where several are shown).
    """
    part = variants.reset_index(drop=True)
    table: dict[str, Any] = {"Variant": part["label" if with_run else "name"]}
    table["Size (MB)"] = part["size_bytes"].astype(float) / 1e6
    table["× smaller"] = part["compression_ratio"]
    table["p50 (ms)"] = part["latency_ms_p50"]
    table["p90 (ms)"] = part["latency_ms_p90"]
    table["Mean ± SD (ms)"] = [
        f"{mean:.2f} ± {sd:.2f}" if fmt.known(mean) and fmt.known(sd) else fmt.UNKNOWN
        for mean, sd in zip(part["latency_ms_mean"], part["latency_ms_sd"], strict=True)
    ]
    table["Timed"] = part["latency_n"]
    table["× faster"] = part["speedup"]
    if part["throughput_per_s"].notna().any():
        table["Batch 8 (/s)"] = part["throughput_per_s"]
    if part["energy_j_per_1000"].notna().any():
        table["Energy (J/1000)"] = part["energy_j_per_1000"]
        table["Energy is"] = [energy_source(value) for value in part["energy_source"]]
    table["Retention (%)"] = 100 * part["retention"]
    table["Retention 95 % CI"] = [
        fmt.UNKNOWN if low == high else _range(low, high)
        for low, high in zip(part["retention_ci95_low"], part["retention_ci95_high"], strict=True)
    ]
    of_runs = scores[scores["run_id"].isin(part["run_id"].unique())]
    by_task = of_runs.assign(key=of_runs["run_id"] + "/" + of_runs["variant_id"])
    for task, rows in by_task[by_task["key"].isin(part["key"])].groupby("task", sort=False):
        ours = rows.set_index("key")[["value", "ci95_low", "ci95_high"]].reindex(part["key"])
        table[f"{task} (%)"] = 100 * ours["value"].to_numpy()
        table[f"{task} 95 % CI"] = [
            _range(low, high) for low, high in zip(ours["ci95_low"], ours["ci95_high"], strict=True)
        ]
    table["n"] = part["n"]
    table["Params (M)"] = part["params"].astype(float) / 1e6
    table["Memory (MB)"] = part["peak_rss_bytes"].astype(float) / 1e6
    table["Verified"] = part["verified"]
    table["Runtime"] = part["runtime"]
    table["Teacher"] = part["teacher"]
    table["Hardware"] = [_machine(*pair) for pair in zip(part["hardware"], part["threads"], strict=True)]
    return pd.DataFrame(table)


def columns(table: pd.DataFrame, with_run: bool = False) -> dict[str, Any]:
    """Return how the columns of `build` are shown."""
    number = st.column_config.NumberColumn
    config: dict[str, Any] = {
        "Variant": st.column_config.TextColumn(pinned=True, width=270 if with_run else 190),
        "Size (MB)": number(format="%.1f", help="Weight files that must ship; 1 MB is 1 000 000 bytes."),
        "× smaller": number(format="%.1f×", help="The teacher's FP16 file divided by this one's."),
        "p50 (ms)": number(format="%.2f", help="Median time of one example, batch 1."),
        "p90 (ms)": number(format="%.2f", help="Nine of ten examples are faster than this."),
        "Mean ± SD (ms)": st.column_config.TextColumn(help="Of the timed passes; a few slow ones move it, not p50."),
        "Timed": number(format="%d", help="Passes of one example each, after as many untimed ones."),
        "× faster": number(format="%.1f×", help="The teacher's p50, in its fastest faithful runtime, divided by this."),
        "Batch 8 (/s)": number(format="%.1f", help="Examples per second in batches of 8; median of several batches."),
        "Energy (J/1000)": number(
            format="%.1f", help="Joules for 1000 examples in batches of 8; the next column says where from."
        ),
        "Energy is": st.column_config.TextColumn(
            help="Measured: by a counter of the processor or the GPU. Estimated: processor seconds of the serving "
            "process times an assumed power per core; of a GPU, seconds by the clock times its assumed power."
        ),
        "Retention (%)": st.column_config.ProgressColumn(
            format="%.1f", min_value=0, max_value=100, help="Score divided by the teacher's score."
        ),
        "n": number(format="%d", help="Evaluated examples."),
        "Params (M)": number(format="%.1f"),
        "Memory (MB)": number(format="%.0f", help="Peak resident memory of the process that evaluated it."),
        "Verified": st.column_config.CheckboxColumn(
            help="Loaded again in a fresh process, and its outputs agreed with the model in memory."
        ),
    }
    for name in table.columns:
        if name.endswith(" (%)") and name not in config:
            config[name] = st.column_config.ProgressColumn(format="%.1f", min_value=0, max_value=100)
    return config


def energy_source(source: Any) -> str:
    """Return whether energy was measured or estimated, as people read it."""
    return ENERGY_SOURCES.get(source, fmt.UNKNOWN)


def energy_note(variants: pd.DataFrame) -> str:
    """Return the sentence that must stand beside energies; empty where there are none."""
    known = variants[variants["energy_j_per_1000"].notna()]
    if known.empty:
        return ""
    told = []
    for source, words in ASSUMED.items():
        watts = sorted(known.loc[known["energy_source"] == source, "energy_watts_per_core"].dropna().unique())
        if watts:
            told.append(words.format(" or ".join(f"{one:g}" for one in watts)))
    if not told:
        return "Energy was measured by counters of the hardware, idle power included."
    return f"Energy marked estimated is {', or '.join(told)}: good for comparing variants, not for a power bill."


def energy_caption(variants: pd.DataFrame) -> None:
    """Render `energy_note` where there is one."""
    note = energy_note(variants)
    if note:
        st.caption(note)


def show(variants: pd.DataFrame, scores: pd.DataFrame, key: str, with_run: bool = False, **options: Any) -> Any:
    """Render the table and return its selection state."""
    table = build(variants, scores, with_run)
    return st.dataframe(
        table,
        hide_index=True,
        column_config=columns(table, with_run),
        key=key,
        height=components.table_height(len(table)),
        alt="Variants with size, latency, score and what they are relative to",
        **options,
    )


def _range(low: Any, high: Any) -> str:
    return f"{100 * low:.1f}–{100 * high:.1f}" if fmt.known(low) and fmt.known(high) else fmt.UNKNOWN


def _machine(hardware: Any, threads: Any) -> str:
    count = f", {fmt.count(threads)} threads" if fmt.known(threads) else ""
    return f"{hardware or 'unknown'}{count}"
