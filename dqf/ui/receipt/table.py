"""Receipts as tables: one row per layer of a variant, and one row per variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dqf.ui import components
from dqf.ui.receipt import facts as receipts

MARKS = {
    receipts.KEPT: "● kept",
    receipts.BY_DESIGN: "○ by design",
    receipts.LOST: "▲ lost",
    receipts.FELL_BACK: "▲ fell back",
}
"""Outcomes for table cells, which take text only."""


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the layers of a receipt (`receipts.table`) as people read them, in the units of the heads."""
    table = pd.DataFrame({"Layer": frame["label"], "Outcome": frame["outcome"].map(MARKS)})
    table["Method"] = frame["method"].str.upper()
    table["Bits"] = frame["bits"]
    table["Group size"] = frame["group_size"]
    if frame["scale_bits"].notna().any():
        table["Scale bits"] = frame["scale_bits"]
    table["Calibration tokens"] = frame["calibration_tokens"]
    table["Error (%)"] = 100 * frame["error"]
    table["RTN error (%)"] = 100 * frame["error_rtn"]
    table["× RTN"] = frame["ratio"]
    table["Error of"] = frame["error_of"]
    if frame["block_error"].notna().any():
        table["Block error (%)"] = 100 * frame["block_error"]
        table["Before tuning (%)"] = 100 * frame["block_error_before"]
    table["Fallback"] = frame["fallback"]
    if frame["seconds"].notna().any():
        table["Time (s)"] = frame["seconds"]
    table["Weights"] = frame["params"]
    table["Name"] = frame["name"]
    return table


def overview(receipts_by_name: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return one row per receipt, given with the name of its variant."""
    found = []
    for name, frame in receipts_by_name:
        counts = frame["outcome"].value_counts()
        kept = frame[(frame["outcome"] == receipts.KEPT) & (frame["kind"] != "embedding")]
        found.append(
            {
                "Variant": name,
                "▲ Lost": sum(counts.get(outcome, 0) for outcome in receipts.PROBLEMS),
                "Kept": counts.get(receipts.KEPT, 0),
                "By design": counts.get(receipts.BY_DESIGN, 0),
                "Layers": len(frame),
                "× RTN, median": kept["ratio"].median(),
                "Error (%), median": 100 * kept["error"].median(),
                "Bits a weight": receipts.bits_per_weight(frame),
                "Calibration tokens": frame["calibration_tokens"].max(),
            }
        )
    return pd.DataFrame(found)


def show(frame: pd.DataFrame, key: str, file_name: str) -> None:
    """Render the layers of a receipt with a download."""
    table = build(frame)
    st.dataframe(
        table,
        hide_index=True,
        column_config=_columns(),
        key=key,
        height=components.table_height(len(table), most=9),
        alt="Layers with method, bits, calibration tokens, error, and the reason of a fallback",
    )
    st.download_button(
        "Download CSV",
        table.to_csv(index=False).encode(),
        file_name=file_name,
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key=f"{key}_csv",
    )


def show_overview(receipts_by_name: Sequence[tuple[str, pd.DataFrame]], key: str) -> None:
    """Render one row per receipt."""
    table = overview(receipts_by_name)
    st.dataframe(
        table,
        hide_index=True,
        column_config=_columns(),
        key=key,
        height=components.table_height(len(table), most=9),
        alt="Variants with the outcome of quantizing their layers",
    )


def _columns() -> dict[str, Any]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    error = "Squared error, relative to the layer's output on the calibration samples, or to the weight without any."
    return {
        "Layer": text(pinned=True, width=170),
        "Variant": text(pinned=True, width=270),
        "Outcome": text(
            help="Kept: the method's result. By design: a table that is looked up, not multiplied. Lost: "
            "round-to-nearest had the smaller error. Fell back: the method could not run."
        ),
        "Kept": number(help="Layers on which the chosen method's result was kept."),
        "By design": number(
            help="Tables that are looked up, not multiplied: rounded with scales of least squared error."
        ),
        "▲ Lost": number(help="Layers on which the method had the larger error, or fell back as it could not run."),
        "Bits": number(format="%d"),
        "Activation bits": number(format="%d"),
        "Group size": number(format="%d", help="Weights that share a scale; 0 is a whole row."),
        "Calibration tokens": number(format="%d", help="Input vectors the method saw; padding left out."),
        "Error (%)": number(format="%.3g", help=error),
        "RTN error (%)": number(format="%.3g", help="The same for round-to-nearest on the same layer."),
        "× RTN": number(format="%.3g×", help="Error divided by round-to-nearest's: below 1 is a gain."),
        "× RTN, median": number(format="%.2f×", help="Over the multiplied layers on which the method was kept."),
        "Error (%), median": number(format="%.3g", help=error),
        "Bits a weight": number(format="%.2f", help="Mean over the quantized weights; scales left out."),
        "Error of": text(help="Output: measured on calibration inputs. Weight: there were none."),
        "Fallback": text(help="Why the chosen method's result was not kept.", width=280),
        "Time (s)": number(format="%.2f"),
        "Weights": number(format="%d"),
    }
