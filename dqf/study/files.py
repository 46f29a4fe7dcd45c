"""A study's folder: tables in parquet, `study.json`, and the `summary.json` that follows from them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dqf.errors import UserError
from dqf.jobs.protocol import read_json, write_json
from dqf.settings import Settings
from dqf.study.collect import Tables, prediction_names

SUMMARY, STUDY = "summary.json", "study.json"
VARIANTS, LATENCY, PREDICTIONS = "variants.parquet", "latency.parquet", "predictions"
_NEW = ".new"
_AGAIN = "name another folder, or make the study with `python -m dqf study NAME`"
_TEXT = ("condition", "task", "variant", "bits", "session")


def write_study(folder: Path, tables: Tables, analyse: Callable[[Tables], dict[str, Any]]) -> None:
    """Write a study: its tables, and the summary that follows from them as they were written.

    All of it is made beside what is there and takes its place when it is whole, the summary last, so whoever stops an
    analysis finds the study as it was.

    Args:
        folder: of the study.
        tables: what was measured.
        analyse: makes the summary of tables as they are read.
    """
    new = folder / _NEW
    shutil.rmtree(new, ignore_errors=True)
    try:
        write_tables(new, tables)
        summary = analyse(read_tables(new))
        (folder / SUMMARY).unlink(missing_ok=True)
        shutil.rmtree(folder / PREDICTIONS, ignore_errors=True)
        for name in (PREDICTIONS, VARIANTS, LATENCY, STUDY):
            (new / name).replace(folder / name)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    write_summary(folder, summary)


def write_tables(folder: Path, tables: Tables) -> None:
    """Write everything but the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_parquet(tables.variants, folder / VARIANTS)
    _write_parquet(tables.latency, folder / LATENCY)
    (folder / PREDICTIONS).mkdir(exist_ok=True)
    for task, frame in tables.predictions.items():
        _write_parquet(frame, folder / PREDICTIONS / f"{task}.parquet")
    write_json(folder / STUDY, plain(tables.study))


def read_tables(folder: Path) -> Tables:
    """Read what `write_tables` wrote.

    Raises:
        UserError: a file is missing or not readable.
    """
    study = read_json(folder / STUDY)
    if not isinstance(study, dict):
        raise UserError(f"a study's folder must hold a readable {STUDY}: {folder} does not; {_AGAIN}.")
    try:
        variants, latency = pd.read_parquet(folder / VARIANTS), pd.read_parquet(folder / LATENCY)
        names = prediction_names(study["tasks"], study["tasks"])
        predictions = {name: pd.read_parquet(folder / PREDICTIONS / f"{name}.parquet") for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"a study's folder must hold its tables: {folder} does not ({error}); {_AGAIN}.") from None
    return Tables(study, variants, latency, predictions)


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write `summary.json`."""
    write_json(folder / SUMMARY, plain(summary))


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Return a study's summary, None where there is none."""
    data = read_json(folder / SUMMARY)
    return data if isinstance(data, dict) else None


def study_folders(settings: Settings) -> list[Path]:
    """Return the folders of all studies that have a summary: the committed ones first, then the user's own."""
    found = [settings.reference_dir, *_below(settings.reference_dir), *_below(settings.results_dir / "studies")]
    return [folder for folder in found if (folder / SUMMARY).is_file()]


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it; what is not finite becomes null."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def round_trip(value: Any) -> Any:
    """Return a value as reading it back from JSON gives it."""
    return json.loads(json.dumps(plain(value)))


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a table so that repeated keys cost nothing: dictionaries for texts, differences for row numbers."""
    temporary = path.with_suffix(".tmp")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    deltas = [name for name in ("idx", "row") if name in frame.columns]
    dictionaries = [name for name in frame.columns if name in _TEXT or name in ("seed", "label", "prediction")]
    pq.write_table(
        table,
        temporary,
        compression="zstd",
        compression_level=9,
        use_dictionary=dictionaries,
        column_encoding=dict.fromkeys(deltas, "DELTA_BINARY_PACKED"),
    )
    temporary.replace(path)


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name != _NEW) if folder.is_dir() else []
