"""Per-example predictions as one table, read from the runs' parquet files where they lie.

The files are the truth and stay where they are: the store holds a view over them. Columns: run_id,
variant_id, task, idx, label, prediction, logits, confidence (softmax probability of the predicted
class; none for a number). A part that is scored beside a task (MNLI mismatched) is a task of its own here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from dqf.store.db import Store

NEEDED = frozenset({"idx", "label", "prediction", "logits"})
FIGURES = """
    idx::BIGINT AS idx, label::DOUBLE AS label, prediction::DOUBLE AS prediction, logits::FLOAT[] AS logits,
    CASE WHEN len(logits) > 1 THEN 1 / list_sum(list_transform(logits, lambda x: exp(x - list_max(logits)))) END
        AS confidence
"""
"""What every view of predictions selects from rows of files, besides whose they are."""
SELECT = f"run_id, variant_id, task, {FIGURES}"


@dataclass(frozen=True)
class PredictionFile:
    """One variant's predictions of its run's task, or of a part that is scored beside it.

    Attributes:
        run_id, variant_id: whose.
        task: the run's or the part's, for files that do not name it in each row.
        path: of the parquet file.
        has_task: whether each row names its task.
    """

    run_id: str
    variant_id: str
    task: str
    path: Path
    has_task: bool = False


def prediction_files(store: Store) -> list[PredictionFile]:
    """Return the files that can be read now; a deleted, broken or foreign one is left out."""
    with store.cursor() as cursor:
        return _files(cursor)


def refresh_view(store: Store, only_if_missing: bool = False) -> None:
    """Make the view `predictions` in the store anew over the files that can be read now.

    Args:
        store: the store.
        only_if_missing: leave a view that is there as it is.
    """
    with store.write_lock:
        with store.cursor() as cursor:
            there = cursor.execute("SELECT 1 FROM duckdb_views() WHERE view_name = 'predictions'").fetchone()
        if there and only_if_missing:
            return
        with store.transaction() as cursor:
            cursor.execute(f"CREATE OR REPLACE VIEW predictions AS {_view(_files(cursor))}")


def _files(cursor: duckdb.DuckDBPyConnection) -> list[PredictionFile]:
    rows = cursor.execute(
        """SELECT run_id, variant_id, coalesce(named.task, runs.task, ''), run_dir, named.predictions
           FROM (
               SELECT run_id, variant_id, NULL AS task, predictions, position, -1 AS part FROM variants
               UNION ALL
               SELECT run_id, variant_id, scores.task, scores.predictions, variants.position, scores.position
               FROM scores JOIN variants USING (run_id, variant_id)
           ) AS named JOIN runs USING (run_id)
           WHERE named.predictions <> '' ORDER BY run_id, named.position, named.part"""
    ).fetchall()
    found = []
    for run_id, variant_id, task, run_dir, name in rows:
        path = inside(Path(run_dir), name)
        columns = _columns(path) if path is not None else frozenset()
        if path is not None and columns >= NEEDED:
            found.append(PredictionFile(run_id, variant_id, task, path, "task" in columns))
    return found


def inside(run_dir: Path, name: str) -> Path | None:
    """Return the file of a run directory, None if it is missing or leads outside."""
    root = run_dir.resolve()
    path = (root / name).resolve()
    return path if root in path.parents and path.is_file() else None


def _columns(path: Path) -> frozenset[str]:
    try:
        state = path.stat()
        return _read_columns(path, state.st_mtime_ns, state.st_size)
    except OSError:
        return frozenset()


@functools.lru_cache(maxsize=20_000)
def _read_columns(path: Path, mtime_ns: int, size: int) -> frozenset[str]:
    try:
        return frozenset(pq.read_schema(path).names)
    except (OSError, ValueError):  # ArrowInvalid is a ValueError
        return frozenset()


def _view(files: Sequence[PredictionFile]) -> str:
    """Return the SELECT over the files; each row is told its run by the name of its file."""
    rows = [
        "SELECT ''::TEXT AS task, 0 AS idx, 0 AS label, 0 AS prediction, []::FLOAT[] AS logits, '' AS filename LIMIT 0"
    ]
    for has_task in (False, True):
        names = [_quoted(str(one.path)) for one in files if one.has_task is has_task]
        if names:
            rows.append(
                f"SELECT {'task' if has_task else 'NULL'}, idx, label, prediction, logits, filename "  # noqa: S608
                f"FROM read_parquet([{', '.join(names)}], filename = true, union_by_name = true)"
            )
    whose = [
        f"({_quoted(str(one.path))}, {_quoted(one.run_id)}, {_quoted(one.variant_id)}, {_quoted(one.task)})"
        for one in files
    ]
    return f"""
        WITH rows AS ({" UNION ALL ".join(f"({part})" for part in rows)}),
             files(filename, run_id, variant_id, run_task) AS (VALUES {", ".join(whose) or "('', '', '', '')"})
        SELECT {SELECT}
        FROM (SELECT * REPLACE (coalesce(task, run_task) AS task) FROM rows JOIN files USING (filename))
    """  # noqa: S608 - our own text and quoted names


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
