"""The table of variants, the same on every page: units in the heads, progress columns, pinned name."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dqf.ui import format as fmt


def build(variants: pd.DataFrame, scores: pd.DataFrame, with_run: bool = False) -> pd.DataFrame:
    """Return variants as people read them, with numbers in the units of the heads.

    Args:
        variants: with the columns of `dqf.ui.frames.derive`.
        scores: one row per variant and task.
        with_run: whether to name the run (needed where several are shown).
    """
    part = variants.reset_index(drop=True)
    table = pd.DataFrame({"Variant": part["label" if with_run else "name"]})
    table["Size (MB)"] = part["size_bytes"].astype(float) / 1e6
    table["× smaller"] = part["compression_ratio"]
    table["p50 (ms)"] = part["latency_ms_p50"]
    table["p90 (ms)"] = part["latency_ms_p90"]
    table["× faster"] = part["speedup"]
    table["Retention (%)"] = 100 * part["retention"]
    table["Retention 95 % CI"] = [
        fmt.UNKNOWN if low == high else _range(low, high)
        for low, high in zip(part["retention_ci95_low"], part["retention_ci95_high"], strict=True)
    ]
    by_task = scores.assign(key=scores["run_id"] + "/" + scores["variant_id"])
    for task in dict.fromkeys(by_task[by_task["key"].isin(part["key"])]["task"]):
        rows = by_task[by_task["task"] == task].set_index("key")
        table[f"{task} (%)"] = 100 * part["key"].map(rows["value"])
        table[f"{task} 95 % CI"] = [_interval(rows, key) for key in part["key"]]
    table["n"] = part["n"]
    table["Params (M)"] = part["params"].astype(float) / 1e6
    table["Memory (MB)"] = part["peak_rss_bytes"].astype(float) / 1e6
    table["Verified"] = part["verified"]
    table["Runtime"] = part["runtime"]
    table["Teacher"] = part["teacher"]
    table["Hardware"] = [_machine(row) for row in part.to_dict("records")]
    return table


def columns(table: pd.DataFrame, with_run: bool = False) -> dict[str, Any]:
    """Return how the columns of `build` are shown."""
    number = st.column_config.NumberColumn
    config: dict[str, Any] = {
        "Variant": st.column_config.TextColumn(pinned=True, width=270 if with_run else 190),
        "Size (MB)": number(format="%.1f", help="Weight files that must ship; 1 MB is 1 000 000 bytes."),
        "× smaller": number(format="%.1f×", help="The teacher's FP16 file divided by this one's."),
        "p50 (ms)": number(format="%.2f", help="Median time of one example, batch 1."),
        "p90 (ms)": number(format="%.2f", help="Nine of ten examples are faster than this."),
        "× faster": number(format="%.1f×", help="The teacher's p50, in its fastest faithful runtime, divided by this."),
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


def show(variants: pd.DataFrame, scores: pd.DataFrame, key: str, with_run: bool = False, **options: Any) -> Any:
    """Render the table and return its selection state."""
    table = build(variants, scores, with_run)
    return st.dataframe(
        table,
        hide_index=True,
        column_config=columns(table, with_run),
        key=key,
        height=min(38 + 35 * len(table), 458),
        alt="Variants with size, latency, score and what they are relative to",
        **options,
    )


def _interval(rows: pd.DataFrame, key: str) -> str:
    if key not in rows.index:
        return fmt.UNKNOWN
    low, high = (float(rows[end].to_numpy(dtype=float)[rows.index.get_loc(key)]) for end in ("ci95_low", "ci95_high"))
    return _range(low, high)


def _range(low: Any, high: Any) -> str:
    return f"{100 * low:.1f}–{100 * high:.1f}" if fmt.known(low) and fmt.known(high) else fmt.UNKNOWN


def _machine(row: dict[Any, Any]) -> str:
    threads = f", {fmt.count(row['threads'])} threads" if fmt.known(row["threads"]) else ""
    return f"{row['hardware'] or 'unknown'}{threads}"
