"""Receipts on the pages: of one variant of a run, and of the variants that are compared.

Method names and reasons come from files, so they are shown as plain text, never as Markdown.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dqf.errors import UserError
from dqf.ui import components
from dqf.ui.charts import CONFIG
from dqf.ui.receipt import facts as receipts
from dqf.ui.receipt import strip as receipt_strip
from dqf.ui.receipt import table as receipt_table
from dqf.ui.receipt.strip import ERROR, MEASURES, RATIO, Measure
from dqf.ui.studio import Studio

HELP = (
    "Color: the squared error that quantization left in the layer's output on the calibration samples, relative to "
    "the error of rounding to nearest, or to the output itself."
)
MOST_STRIPS = 3
STRIP_CONFIG = {**CONFIG, "displayModeBar": False}


@st.fragment
def of_run(studio: Studio, variants: pd.DataFrame) -> None:
    """Render the receipt of one of a run's quantized variants, which people choose; nothing without any."""
    rows = quantized(variants)
    if rows.empty:
        return
    names = dict(zip(rows["key"], rows["name"], strict=True))
    controls = st.container(horizontal=True, vertical_alignment="bottom")
    chosen = controls.selectbox(
        "Quantized variant",
        list(names),
        format_func=lambda key: names.get(key, key),
        key=f"receipt_of_{rows['run_id'].iloc[0]}",
        width=320,
    )
    row = rows[rows["key"] == chosen].iloc[0].to_dict()
    try:
        frame = load(studio, row)
    except UserError as error:
        components.notice("warning", "The receipt of this variant cannot be shown.", str(error))
        return
    with controls:
        measure = _measure([frame], "receipt_measure")
    _strip(frame, measure, key=f"receipt_strip_{chosen}", name=row["name"])
    _layers(frame, row, key=f"receipt_table_{chosen}")


@st.fragment
def side_by_side(studio: Studio, variants: pd.DataFrame) -> None:
    """Render the receipts of the compared variants: one line each, and the strips of some beneath each other."""
    rows = quantized(variants)
    if rows.empty:
        return
    st.subheader("Receipts", anchor=False)
    found = {row["key"]: row for row in rows.to_dict("records")}
    frames: dict[str, pd.DataFrame] = {}
    problems: list[str] = []
    for key, row in found.items():
        try:
            frames[key] = load(studio, row)
        except UserError as error:
            problems.append(f"{row['label']}: {error}")
    if problems:
        components.notice("warning", "Not every receipt can be shown.", "\n".join(problems))
    if not frames:
        return
    labels = {key: found[key]["label"] for key in frames}
    receipt_table.show_overview([(labels[key], frame) for key, frame in frames.items()], key="compare_receipts")
    shown = list(frames)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if len(frames) > MOST_STRIPS:
            shown = st.multiselect(
                "Layers of",
                list(frames),
                default=shown[:MOST_STRIPS],
                format_func=lambda key: labels.get(key, key),
                key=f"compare_receipts_{zlib.crc32(repr(list(frames)).encode())}",
                width=640,
            )
        measure = _measure(frames.values(), "compare_receipt_measure")
    for key in shown:
        with st.container(border=True, gap="small"):
            st.text(labels[key])
            _strip(frames[key], measure, key=f"compare_strip_{key}", name=labels[key])
            with st.expander("Layer by layer", icon=":material/table_rows:"):
                _layers(frames[key], found[key], key=f"compare_layers_{key}")


def quantized(variants: pd.DataFrame) -> pd.DataFrame:
    """Return the variants that have, or should have, a receipt."""
    return variants[variants["quantizer"].notna()]


def load(studio: Studio, variant: Mapping[Any, Any]) -> pd.DataFrame:
    """Return the receipt of a variant (`receipts.table`), cached until its file changes.

    Raises:
        UserError: it is missing, broken or outside its run.
    """
    run_dir = studio.run_dir(variant["run_id"])
    if run_dir is None:
        raise UserError(f"a receipt lies in the folder of its run: {variant['run_id']} has none any more.")
    path = receipts.locate(run_dir, variant["receipt"])
    try:
        state = path.stat()
    except OSError:
        raise UserError(f"a receipt must be readable: {path.name} is not.") from None
    return _read(str(path), state.st_mtime_ns, state.st_size)


@st.cache_data(max_entries=64, show_spinner=False)
def _read(path: str, mtime_ns: int, size: int) -> pd.DataFrame:
    return receipts.read(Path(path))


def _measure(frames: Iterable[pd.DataFrame], key: str) -> Measure:
    """Let people choose what the color says, where there is more to say than the error."""
    if not any(receipts.compares(frame) for frame in frames):
        return ERROR
    title = st.segmented_control("Color", list(MEASURES), default=RATIO.title, required=True, key=key, help=HELP)
    return MEASURES.get(title or "", RATIO)


def _strip(frame: pd.DataFrame, measure: Measure, key: str, name: str) -> None:
    sentence = receipts.summary(frame)
    st.text(sentence)
    st.caption(receipts.facts(frame))
    st.plotly_chart(
        receipt_strip.strip(frame, measure if receipts.compares(frame) else ERROR),
        config=STRIP_CONFIG,
        key=key,
        alt=f"Layers of {name} as a heat strip. {sentence}",
    )


def _layers(frame: pd.DataFrame, row: Mapping[Any, Any], key: str) -> None:
    receipt_table.show(frame, key=key, file_name=f"{row['run_id']}-{row['variant_id']}-receipt.csv")
