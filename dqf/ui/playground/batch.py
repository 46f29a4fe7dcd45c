"""Many texts for all variants: a small table through every one, with a download."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dqf.data.table import read_table
from dqf.errors import UserError
from dqf.ui import components
from dqf.ui import format as fmt
from dqf.ui.launch.sources import safe_name
from dqf.ui.playground import answers as playground
from dqf.ui.playground.answers import Said
from dqf.ui.playground.view import Bench

MOST_ROWS = 2000
MOST_BYTES = 20_000_000
CHUNK_ROWS = 64
RESULT = "playground_table"
GUESSES = ("text", "sentence", "sentence1", "question", "premise", "headline")
SECOND_GUESSES = ("text2", "sentence2", "hypothesis", "question2")


def read_upload(name: str, content: bytes) -> pd.DataFrame:
    """Return an uploaded table as text; nothing of it is kept.

    Raises:
        UserError: it is no readable table, or larger than this page takes.
    """
    if len(content) > MOST_BYTES:
        raise UserError(
            f"a table may be {fmt.size(MOST_BYTES)}: {name[:60]!r} is {fmt.size(len(content))}; upload a part of it."
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / safe_name(name, content)
        path.write_bytes(content)
        frame = read_table(path)
    if len(frame) > MOST_ROWS:
        raise UserError(f"a table may have {MOST_ROWS} rows: {name[:60]!r} has {len(frame)}; upload a part of it.")
    frame.columns = [str(column) for column in frame.columns]
    return frame


def texts_of(frame: pd.DataFrame, column: str) -> list[str]:
    """Return a column as texts; what is missing is empty."""
    found = frame[column]
    if isinstance(found, pd.DataFrame):
        raise UserError(f"a column's name must be given once: {column!r} is there {found.shape[1]} times; rename one.")
    return ["" if missing else str(value) for value, missing in zip(found, found.isna(), strict=True)]


def show(bench: Bench) -> None:
    """Render upload, choice of columns, the button and what came of it."""
    upload = st.file_uploader(
        f"A CSV, JSONL or parquet file of at most {MOST_ROWS} rows",
        type=["csv", "jsonl", "parquet"],
        key="playground_upload",
        help="It is read for this page only and not kept.",
    )
    if upload is None:
        return
    try:
        frame = read_upload(upload.name, upload.getvalue())
        columns = _columns(frame, bench.pairs)
        texts = texts_of(frame, columns[0])
        pairs = texts_of(frame, columns[1]) if bench.pairs else None
    except UserError as error:
        components.notice("error", "This file cannot be used.", str(error))
        return
    asked = (bench.run_id, tuple(bench.models), upload.file_id, tuple(columns))
    label = f"Ask {len(bench.models)} variants about {len(texts)} texts"
    if st.button(label, type="primary", icon=":material/send:", disabled=not bench.models, key="playground_ask_many"):
        st.session_state[RESULT] = (asked, *_ask(bench, texts, pairs))
    kept, said, seconds, problems = st.session_state.get(RESULT, (None, [], {}, []))
    if kept == asked:
        if problems:
            components.notice("warning", "Some variants did not answer.", "\n".join(problems))
        if said:
            _result(bench, said, seconds, texts, pairs)


def _columns(frame: pd.DataFrame, pairs: bool) -> list[str]:
    """Render the choice of the text columns."""
    names = list(dict.fromkeys(frame.columns))
    lowered = {name.lower(): at for at, name in reversed(list(enumerate(names)))}
    wanted = [("Text column", GUESSES), ("Second text column", SECOND_GUESSES)][: 2 if pairs else 1]
    with st.container(horizontal=True):
        return [
            str(
                st.selectbox(
                    title,
                    names,
                    index=next((lowered[word] for word in guesses if word in lowered), 0),
                    key=f"playground_{title}_{hash(tuple(names))}",
                    width=320,
                )
            )
            for title, guesses in wanted
        ]


def _ask(
    bench: Bench, texts: Sequence[str], pairs: Sequence[str] | None
) -> tuple[list[Said], dict[str, float], list[str]]:
    """Ask every variant everything, in pieces, so that leaving the page stops it."""
    said, problems = [], []
    seconds: dict[str, float] = {}
    rows = bench.askable.to_dict("records")
    waiting = st.progress(0.0)
    stop = st.empty()
    stop.button("Stop", icon=":material/stop_circle:", key="playground_stop")
    for at, row in enumerate(rows):
        variant_id = str(row["variant_id"])
        parts, spent = [], 0.0
        try:
            for start in range(0, len(texts), CHUNK_ROWS):
                waiting.progress((at + start / len(texts)) / len(rows), text=f"Asking {row['name']}")
                part = slice(start, start + CHUNK_ROWS)
                answer = bench.manager.predict(
                    bench.models[variant_id], texts[part], None if pairs is None else pairs[part]
                )
                parts.append(answer.logits)
                spent += (answer.encode_ms + answer.forward_ms) / 1e3
        except UserError as error:
            problems.append(f"{row['name']}: {error}")
            continue
        seconds[variant_id] = spent
        one = replace(answer, logits=np.concatenate(parts))
        said.append(Said(variant_id, str(row["name"]), str(row["variant"]), one.logits, one))
    waiting.empty()
    stop.empty()
    return said, seconds, problems


def _result(
    bench: Bench, said: list[Said], seconds: dict[str, float], texts: Sequence[str], pairs: Sequence[str] | None
) -> None:
    percent = st.column_config.ProgressColumn(format="%.1f", min_value=0, max_value=100)
    st.dataframe(
        playground.summary(said, seconds),
        hide_index=True,
        column_config={
            "Variant": st.column_config.TextColumn(pinned=True, width=190),
            "As the teacher (%)": percent,
            "Mean confidence (%)": percent,
            "Mean distance to the teacher": st.column_config.NumberColumn(format="%.3f"),
            "Texts per second": st.column_config.NumberColumn(
                format="%.0f", help="Tokenizing and computing; texts of equal length share a batch of at most 32."
            ),
        },
        alt="Agreement with the teacher, confidence and speed of each variant",
    )
    table = playground.many(said, bench.names, texts, pairs)
    differ = int((~table["All agree"]).sum()) if "All agree" in table else 0
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        only = st.toggle(f"Only texts they differ on ({differ})", disabled=not differ, key="playground_only_differ")
        st.download_button(
            "Download CSV",
            lambda: table.to_csv(index=False).encode(),
            file_name=f"{bench.run_id}-playground.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="playground_csv",
        )
    shown = table[~table["All agree"]] if only and differ else table
    config = {"Text": st.column_config.TextColumn(width=420)}
    for name in table:
        if str(name).endswith(", confidence"):
            config[str(name)] = st.column_config.NumberColumn(format="percent")
    st.dataframe(
        shown,
        hide_index=True,
        height=components.table_height(len(shown)),
        column_config=config,
        alt="Every text with each variant's answer and confidence",
    )
