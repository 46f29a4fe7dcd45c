"""GLUE tasks, from a local folder in hub layout or from the hub (`nyu-mll/glue`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dqf.data.catalog import GlueTask, glue_task
from dqf.data.tasks import CLASSIFICATION, REGRESSION, Examples, Task
from dqf.errors import UserError
from dqf.settings import Settings

FULL_TRAIN_ROWS = {
    "cola": 8551,
    "sst2": 67349,
    "mrpc": 3668,
    "qqp": 363846,
    "stsb": 5749,
    "mnli": 392702,
    "qnli": 104743,
    "rte": 2490,
    "wnli": 635,
}
"""Smaller training sets are subsets of GLUE's own, and scores after them are no match for published ones."""


VALIDATION_ROWS = {
    "cola": 1043,
    "sst2": 872,
    "mrpc": 408,
    "qqp": 40430,
    "stsb": 1500,
    "mnli": 9815,
    "qnli": 5463,
    "rte": 277,
    "wnli": 71,
}
"""Of GLUE's own splits: published scores are of those, and say nothing of other rows."""


def local_glue_folder(name: str, settings: Settings) -> Path | None:
    """Return the folder with this task's parquet files, None if no data folder has one."""
    for root in settings.data_dirs:
        for folder in (root / "glue" / name, root / "nyu-mll" / "glue" / name, root / name):
            if list(folder.glob("train*.parquet")):
                return folder
    return None


def load_glue(name: str, settings: Settings) -> Task:
    """Return a GLUE task; its reported rows are its validation split, GLUE's own unless its note says otherwise.

    Raises:
        UserError: the data is neither in a data folder nor to be had from the hub, or lacks a column.
    """
    task = _known(name)
    folder = local_glue_folder(name, settings)
    train = _frame(task, folder, "train")
    evaluation = _frame(task, folder, task.validation)
    own_rows = len(evaluation) == VALIDATION_ROWS[name]
    notes = []
    if len(train) < FULL_TRAIN_ROWS[name]:
        notes.append(f"Reduced training set: {len(train)} of GLUE's {FULL_TRAIN_ROWS[name]} rows.")
    if not own_rows:
        notes.append(f"Not GLUE's own validation rows: {len(evaluation)} instead of {VALIDATION_ROWS[name]}.")
    return Task(
        name,
        CLASSIFICATION if task.labels else REGRESSION,
        task.labels,
        task.metric,
        _examples(task, train),
        _examples(task, evaluation),
        " ".join(notes),
        _extra(task, folder),
        task.published if own_rows else None,
    )


def training_texts(name: str, settings: Settings) -> Examples:
    """Return a GLUE task's training rows, labels and all.

    Raises:
        UserError: no such task, or as `load_glue` does.
    """
    task = _known(name)
    return _examples(task, _frame(task, local_glue_folder(name, settings), "train"))


def training_files(name: str, settings: Settings) -> list[Path]:
    """Return the files of a GLUE task's training rows in the data folders, none where only the hub has them."""
    folder = local_glue_folder(name, settings)
    return [] if folder is None else _split_files(folder, "train")


def _split_files(folder: Path, split: str) -> list[Path]:
    return sorted(folder.glob(f"{split}.parquet")) or sorted(folder.glob(f"{split}-*.parquet"))


def _known(name: str) -> GlueTask:
    task = glue_task(name)
    if task is None:
        raise UserError(f"a GLUE task must be a known one: got {name!r}.")
    return task


def _extra(task: GlueTask, folder: Path | None) -> dict[str, Examples]:
    """Return what GLUE reports beside a task's evaluation rows, where it is there: MNLI mismatched."""
    if not task.extra:
        return {}
    try:
        return {f"{task.name}-{task.extra}": _examples(task, _frame(task, folder, f"validation_{task.extra}"))}
    except UserError:
        return {}


def _frame(task: GlueTask, folder: Path | None, split: str) -> pd.DataFrame:
    if folder is None:
        return _hub_frame(task.name, split)
    files = _split_files(folder, split)
    if not files:
        raise UserError(f"a GLUE folder must hold {split}.parquet: {folder} does not; check `DQF_DATA_DIR`.")
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def _hub_frame(name: str, split: str) -> pd.DataFrame:
    import datasets

    try:
        frame: Any = datasets.load_dataset("nyu-mll/glue", name, split=split).to_pandas()
    except Exception as error:
        raise UserError(
            f"GLUE needs a local folder in hub layout or the hub: neither has {name} "
            f"({type(error).__name__}); set `DQF_DATA_DIR` to a folder that holds glue/{name}/train.parquet."
        ) from error
    return frame


def _examples(task: GlueTask, frame: pd.DataFrame) -> Examples:
    for column in (task.text, task.pair, "label"):
        if column and column not in frame.columns:
            raise UserError(
                f"{task.name} must have the column {column!r}: it has {', '.join(map(str, frame.columns))}."
            )
    pairs = tuple(frame[task.pair].astype(str)) if task.pair else None
    dtype = np.int64 if task.labels else np.float64
    return Examples(tuple(frame[task.text].astype(str)), pairs, frame["label"].to_numpy(dtype=dtype))
