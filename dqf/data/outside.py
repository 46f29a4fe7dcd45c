"""Texts from outside the task: a sample of C4, the training rows of a GLUE task, or the user's own file.

Quantizers are calibrated on them, and a teacher scores them for Student-KD. Labels are never looked at.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dqf.artifacts import sha256_of
from dqf.data.glue import training_files, training_texts
from dqf.data.table import read_table, table_path
from dqf.data.tasks import Examples, Task
from dqf.errors import UserError
from dqf.settings import Settings

TEXT_COLUMN, PAIR_COLUMN = "text", "pair"
C4_FOLDERS = ("c4-sample", "allenai/c4", "c4")
C4, GLUE, FILE = "c4", "glue:", "file:"
NO_C4 = (
    "C4 needs a data folder or the hub: neither has it ({}); set `DQF_DATA_DIR` to a folder that holds "
    "c4-sample/train.parquet, or take texts from elsewhere."
)


def outside_texts(source: str, settings: Settings) -> Examples:
    """Return the texts of `c4`, `glue:NAME` or `file:PATH`, with second texts where there are some; labels are zeros.

    Raises:
        UserError: the source is not to be had, or holds no text.
    """
    if source == C4:
        return _examples(_c4(settings))
    if source.startswith(GLUE):
        found = training_texts(source.removeprefix(GLUE), settings)
        return _examples(found.texts, found.pairs)
    return own_texts(source, settings)


def own_texts(source: str, settings: Settings) -> Examples:
    """Return the texts of `file:PATH`: the column `text` of a CSV, JSONL or parquet file, and `pair` if it has one.

    Raises:
        UserError: no such file, no such column, or no text in it.
    """
    path = table_path(source.removeprefix(FILE), settings)
    frame = read_table(path)
    if TEXT_COLUMN not in frame.columns:
        known = ", ".join(str(name) for name in frame.columns[:8])
        raise UserError(f"a file of texts must have the column {TEXT_COLUMN!r}: {path.name} has {known}.")
    return _of_frame(frame, path.name)


def outside_fingerprint(source: str, settings: Settings) -> str:
    """Return what tells the content of a source: the SHA-256 of its files; empty where the hub has it.

    A data folder may hold another part of GLUE or C4 tomorrow.
    """
    digests = [_sha256_of(file, *_stamp(file)) for file in _files(source, settings)]
    if len(digests) < 2:
        return "".join(digests)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _files(source: str, settings: Settings) -> list[Path]:
    if source.startswith(FILE):
        return [table_path(source.removeprefix(FILE), settings)]
    if source.startswith(GLUE):
        return training_files(source.removeprefix(GLUE), settings)
    local = local_c4(settings) if source == C4 else None
    return [] if local is None else [local]


def _stamp(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_mtime_ns, state.st_size


@functools.lru_cache(maxsize=64)
def _sha256_of(file: Path, mtime_ns: int, size: int) -> str:
    return sha256_of(file)


def without_reported(examples: Examples, task: Task) -> Examples:
    """Return the rows none of whose texts stands in a reported row: those must not be seen before they are scored.

    Raises:
        UserError: no row is left.
    """
    reported: set[str] = set()
    for part in (task.evaluation, *task.extra.values()):
        reported.update(part.texts, part.pairs or ())
    seconds = examples.pairs or examples.texts
    rows = [row for row, texts in enumerate(zip(examples.texts, seconds, strict=True)) if reported.isdisjoint(texts)]
    if not rows:
        raise UserError("texts besides the reported ones are needed: all that the source holds are reported.")
    return examples.take(rows)


def local_c4(settings: Settings) -> Path | None:
    """Return the first parquet file of C4's sample in the data folders, None where only the hub may have it."""
    folders = (root / name for root in settings.data_dirs for name in C4_FOLDERS)
    return next((file for folder in folders for file in sorted(folder.glob("train*.parquet"))), None)


def _c4(settings: Settings) -> tuple[str, ...]:
    file = local_c4(settings)
    if file is not None:
        return _of_frame(pd.read_parquet(file), _shown(file)).texts
    import datasets

    try:
        stream = datasets.load_dataset("allenai/c4", "en", split="train", streaming=True)
        return tuple(row["text"] for row in stream.take(2000))
    except Exception as error:
        raise UserError(NO_C4.format(type(error).__name__)) from error


def _of_frame(frame: pd.DataFrame, name: str) -> Examples:
    columns = [_cells(frame[column]) for column in (TEXT_COLUMN, PAIR_COLUMN) if column in frame.columns]
    known = columns[0] != ""
    if not known.any():
        raise UserError(f"a file of texts must hold text: {name} has none in its column {TEXT_COLUMN!r}.")
    texts, *pairs = (tuple(column[known]) for column in columns)
    second = pairs[0] if pairs and any(pairs[0]) else None
    if second is not None and not all(second):
        raise UserError(
            f"the column {PAIR_COLUMN!r} must have a text in every row or in none: {name} has {second.count('')} rows "
            f"of {len(second)} without; fill them or take the column out."
        )
    return _examples(texts, second)


def _cells(column: pd.Series[Any]) -> pd.Series[str]:
    """Return a column as texts, empty where there is nothing or only space."""
    texts = column.astype(object).where(column.notna(), "").astype(str)
    return texts.where(texts.str.strip() != "", "")


def _examples(texts: tuple[str, ...], pairs: tuple[str, ...] | None = None) -> Examples:
    return Examples(texts, pairs, np.zeros(len(texts), dtype=np.int64))


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
