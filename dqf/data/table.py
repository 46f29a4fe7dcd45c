"""The user's own CSV, JSONL or parquet file as a task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dqf.data.catalog import TABLE_SUFFIXES, short_name
from dqf.data.tasks import CLASSIFICATION, REGRESSION, Examples, Task, split_rows
from dqf.errors import UserError, did_you_mean
from dqf.sections import TaskConfig
from dqf.settings import Settings, confine

MOST_CLASSES = 1000
SPLIT_SEED = 20
EVALUATION_SHARE = 0.2
FEWEST_TEXTS = 50
"""Different first texts of pairs, for some of them to be held out as a whole."""


def table_path(path: str, settings: Settings) -> Path:
    """Return the file if it lies inside a data folder, the uploads or the working directory.

    Raises:
        UserError: it does not exist or leads outside.
    """
    roots = (*settings.data_dirs, settings.uploads_dir, Path.cwd().resolve())
    return confine(path, roots, "a data file", "DQF_DATA_DIR")


def read_table(path: Path, rows: int | None = None) -> pd.DataFrame:
    """Read a table; every column of a CSV file as text.

    Args:
        path: a .csv, .jsonl or .parquet file.
        rows: read only that many.

    Raises:
        UserError: it cannot be read as what its ending says, or is empty.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, nrows=rows, encoding="utf-8-sig")
            if not isinstance(frame.index, pd.RangeIndex):  # pandas took the first cells for names of rows
                raise UserError(
                    f"a row must have as many cells as the header: {path.name} has more in the first; put texts that "
                    "hold commas in quotes, or name every column."
                )
        elif suffix == ".jsonl":
            # As it is written: pandas would make dates and numbers of names and texts, "007" and "" among them.
            frame = pd.read_json(path, lines=True, nrows=rows, dtype=False, convert_axes=False, convert_dates=False)
        elif suffix == ".parquet":
            frame = pd.read_parquet(path)
            frame = frame if rows is None else frame.head(rows)
        else:
            raise UserError(f"an own file must be one of {', '.join(TABLE_SUFFIXES)}: got {path.name!r}.")
    except UserError:
        raise
    except UnicodeDecodeError:
        raise UserError(f"a text file must be UTF-8: {path.name} is not; save it again as UTF-8.") from None
    except Exception as error:
        reason = str(error).split("\n")[0][:120]
        raise UserError(f"{path.name} must be a readable {suffix[1:]} table: {reason}.") from None
    if frame.empty:
        raise UserError(f"a data file must hold rows: {path.name} has none.")
    frame.columns = [str(column) for column in frame.columns]
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise UserError(f"columns of a data file must have names of their own: {path.name} has {twice!r} twice.")
    return frame


def columns(path: str, settings: Settings) -> list[str]:
    """Return the column names of an own file.

    Raises:
        UserError: it cannot be read.
    """
    return list(read_table(table_path(path, settings), rows=5).columns)


def load_table(config: TaskConfig, settings: Settings) -> Task:
    """Return the task an own file describes; a fifth of its rows is held out for evaluation.

    Raises:
        UserError: missing columns, unusable labels, too few rows.
    """
    path = table_path(config.source.removeprefix("file:"), settings)
    frame = read_table(path)
    wanted = [config.text_column, config.label_column, *([config.text_pair_column] if config.text_pair_column else [])]
    for column in wanted:
        if column not in frame.columns:
            known = [str(name) for name in frame.columns]
            raise UserError(
                f"a chosen column must be in the file: {path.name} has no {column!r}{did_you_mean(column, known)}"
            )
    for column in wanted:
        nested = frame[column].map(lambda cell: isinstance(cell, list | dict | np.ndarray))
        if nested.any():
            raise UserError(
                f"a cell must be a text or a number: {path.name} holds a list or an object in {column!r}; choose "
                "another column or flatten it."
            )
    frame = frame[frame[config.text_column].astype(str).str.strip() != ""].dropna(subset=wanted)
    frame[config.label_column] = frame[config.label_column].astype(str).str.strip()  # a space more is no other class
    frame = frame[frame[config.label_column] != ""].drop_duplicates(subset=wanted)
    if len(frame) < 10:
        raise UserError(f"a data file must hold at least 10 usable, distinct rows: {path.name} has {len(frame)}.")
    kind, names, labels = _labels(frame[config.label_column], config.target, path.name, config.label_column)
    pairs = tuple(frame[config.text_pair_column].astype(str)) if config.text_pair_column else None
    everything = Examples(tuple(frame[config.text_column].astype(str)), pairs, labels)
    kept, held = _split_by_text(everything, kind, SPLIT_SEED + config.seed)
    metric = "accuracy" if kind == CLASSIFICATION else "pearson_spearman"
    return Task(short_name(config.source), kind, names, metric, everything.take(kept), everything.take(held))


def _split_by_text(examples: Examples, kind: str, seed: int) -> tuple[list[int], list[int]]:
    """Hold out whole texts, so that none stands on both sides, however it is spaced or cased; of pairs the first ones.

    Where these are few, or so many rows share one that of all rows or of a class another part would be held out, whole
    pairs are.
    """
    firsts = _plain(examples.texts)
    if examples.pairs is None:
        return _split_by(firsts, examples.labels, kind, seed)
    if len(set(firsts)) >= FEWEST_TEXTS:
        kept, held = _split_by(firsts, examples.labels, kind, seed)
        parts = [np.ones(len(firsts), dtype=bool)]
        if kind == CLASSIFICATION:
            parts += [examples.labels == label for label in np.unique(examples.labels)]
        shares = [part[held].sum() / part.sum() for part in parts]
        if all(abs(share - EVALUATION_SHARE) < EVALUATION_SHARE / 2 for share in shares):
            return kept, held
    pairs = [f"{first}\n{second}" for first, second in zip(firsts, _plain(examples.pairs), strict=True)]
    return _split_by(pairs, examples.labels, kind, seed)


def _plain(texts: Sequence[str]) -> list[str]:
    return [" ".join(text.casefold().split()) for text in texts]


def _split_by(keys: Sequence[str], labels: Any, kind: str, seed: int) -> tuple[list[int], list[int]]:
    """Hold out whole keys, stratified by the label of each one's first row."""
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    firsts = sorted(first.values())
    _, held = split_rows(labels[firsts], EVALUATION_SHARE, kind == CLASSIFICATION, seed)
    held_keys = {keys[firsts[i]] for i in held}
    return (
        [i for i, key in enumerate(keys) if key not in held_keys],
        [i for i, key in enumerate(keys) if key in held_keys],
    )


def _labels(column: pd.Series, target: str, file: str, name: str) -> tuple[str, tuple[str, ...], Any]:
    numbers = pd.to_numeric(column, errors="coerce")  # by its text: `true` and dates are names of classes
    numeric = bool(np.isfinite(numbers).all())
    distinct = column.nunique()
    if distinct < 2:
        raise UserError(
            f"the label column must hold at least 2 different values: {name!r} of {file} holds one "
            f"({column.iloc[0][:40]!r}); choose another column."
        )
    whole = numeric and bool((numbers == numbers.round()).all())
    if target == "number" or (target == "auto" and numeric and (not whole or distinct > 20)):
        if not numeric:
            bad = column[~np.isfinite(numbers)].iloc[0][:40]
            raise UserError(f"a number target must be numeric in every row: {name!r} of {file} holds {bad!r}.")
        return REGRESSION, (), numbers.to_numpy(dtype=np.float64)
    names = sorted(column.unique(), key=lambda v: (float(v) if numeric else 0.0, v))
    if len(names) > min(MOST_CLASSES, len(column) // 2):
        raise UserError(
            f"a class column must repeat its values: {name!r} of {file} holds {len(names)} different ones in "
            f"{len(column)} rows; choose another column or set the target to number."
        )
    index = {value: i for i, value in enumerate(names)}
    return CLASSIFICATION, tuple(names), column.map(index).to_numpy(dtype=np.int64)
