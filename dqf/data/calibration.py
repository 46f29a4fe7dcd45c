"""Texts that quantizers look at: the task's training rows, a sample of C4, or the user's own file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dqf.artifacts import sha256_of
from dqf.data.table import read_table, table_path
from dqf.data.tasks import Examples, Task
from dqf.errors import UserError
from dqf.sections import QuantizationConfig
from dqf.settings import Settings

TEXT_COLUMN = "text"
SHORTEST_TOKENS = 2
C4_FOLDERS = ("c4-sample", "allenai/c4", "c4")


def calibration_examples(config: QuantizationConfig, task: Task, settings: Settings) -> Examples:
    """Return the texts to calibrate on; rows that are reported are never among them.

    Raises:
        UserError: the source is not to be had, or holds no text.
    """
    if config.calibration == "training":
        pool = task.train
    else:
        texts = _c4(settings) if config.calibration == "c4" else own_texts(config.calibration, settings)
        # A reported text may stand in the user's file too: it must not be seen.
        reported = {*task.evaluation.texts, *(task.evaluation.pairs or ())}
        kept = tuple(text for text in texts if text not in reported)
        if not kept:
            raise UserError("calibration needs texts besides the reported ones: all of the file's are reported.")
        pool = Examples(kept, None, np.zeros(len(kept)))
    count = min(config.calibration_samples, len(pool))
    rows = np.random.default_rng(config.calibration_seed).permutation(len(pool))[:count]
    return pool.take([int(row) for row in rows])


def calibration_fingerprint(config: QuantizationConfig, settings: Settings) -> str:
    """Return the SHA-256 of an own calibration file; empty for sources that a config names for good."""
    if not config.calibration.startswith("file:"):
        return ""
    return sha256_of(table_path(config.calibration.removeprefix("file:"), settings))


def own_texts(source: str, settings: Settings) -> tuple[str, ...]:
    """Return the texts of `file:PATH`, the column `text` of a CSV, JSONL or parquet file.

    Raises:
        UserError: no such file, no such column, or no text in it.
    """
    path = table_path(source.removeprefix("file:"), settings)
    frame = read_table(path)
    if TEXT_COLUMN not in frame.columns:
        known = ", ".join(str(name) for name in frame.columns[:8])
        raise UserError(f"a calibration file must have the column {TEXT_COLUMN!r}: {path.name} has {known}.")
    return _texts(frame, path.name)


def _c4(settings: Settings) -> tuple[str, ...]:
    for root in settings.data_dirs:
        for name in C4_FOLDERS:
            files = sorted((root / name).glob("train*.parquet"))
            if files:
                return _texts(pd.read_parquet(files[0]), _shown(files[0]))
    import datasets

    try:
        stream = datasets.load_dataset("allenai/c4", "en", split="train", streaming=True)
        return tuple(row["text"] for row in stream.take(2000))
    except Exception as error:
        raise UserError(
            f"C4 needs a data folder or the hub: neither has it ({type(error).__name__}); set `DQF_DATA_DIR` to a "
            "folder that holds c4-sample/train.parquet, or calibrate on the training rows."
        ) from error


def _texts(frame: pd.DataFrame, name: str) -> tuple[str, ...]:
    texts = tuple(text for text in frame[TEXT_COLUMN].dropna().astype(str) if text.strip())
    if not texts:
        raise UserError(f"a calibration file must hold text: {name} has none in its column {TEXT_COLUMN!r}.")
    return texts


def _shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
