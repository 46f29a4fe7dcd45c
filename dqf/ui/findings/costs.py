"""What training took in a study: time, trained weights and memory of teacher and students, beside their scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dqf.study.files import VARIANTS
from dqf.ui import components
from dqf.ui.findings import tables
from dqf.ui.findings.studies import Study
from dqf.ui.theme import variant_title

COLUMNS = ["train_seconds", "trained_params", "train_peak_memory_bytes"]
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
    st.caption("Quantized variants are made from these. A training that runs share counts with the time it took once.")


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
def _read(path: str, mtime_ns: int) -> pd.DataFrame:
    return pd.read_parquet(Path(path), columns=["condition", "variant", *COLUMNS])
