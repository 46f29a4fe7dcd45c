"""From run directories to the store: one transaction per run, only for runs that changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dqf.jobs import protocol
from dqf.jobs.views import read_run
from dqf.settings import Settings
from dqf.store.db import Store
from dqf.store.predictions import refresh_view
from dqf.store.rows import run_row, stage_rows, variant_rows

log = logging.getLogger(__name__)

BATCH = 200
"""Runs per transaction: a commit takes longer than writing them."""
_TABLES = ("stages", "scores", "variants", "runs")


def sync(store: Store, settings: Settings) -> int:
    """Bring the store in line with `runs/` and the committed `reference/` runs.

    A run that lies in both counts once, as a reference whose directory is the one in `runs/`. A
    directory that cannot be read is reported in the log and does not stop the others.

    Returns:
        How many runs were added, changed or removed.
    """
    roots = (settings.reference_dir, settings.runs_dir)
    with store.write_lock:
        references = {path.name for path in protocol.list_runs(settings.reference_dir)}
        found = {path.name: path for root in roots for path in protocol.list_runs(root)}
        known = _known(store)
        changed = 0
        answered = False
        waiting: list[_Prepared] = []
        for run_id, run_dir in sorted(found.items()):
            try:
                prepared = _prepare(run_dir, known.get(run_id), run_id in references)
            except Exception:
                log.exception("run %s could not be taken into the store", run_id)
                continue
            if prepared is not None:
                waiting.append(prepared)
                answered |= prepared.answered
            if len(waiting) == BATCH:
                changed += _write(store, waiting)
                waiting = []
        changed += _write(store, waiting)
        gone = sorted(known.keys() - found.keys())
        if gone:
            with store.transaction() as cursor:
                for run_id in gone:
                    _delete(cursor, run_id)
        changed += len(gone)
        answered |= any(known[run_id][0] == protocol.SUCCEEDED for run_id in gone)
        refresh_view(store, only_if_missing=not (changed and answered))
        return changed


def ingest_run(store: Store, run_dir: Path) -> bool:
    """Take one run into the store if it changed since the last time.

    Returns:
        Whether the store changed.
    """
    with store.write_lock:
        known = _known(store, run_dir.name).get(run_dir.name)
        prepared = _prepare(run_dir, known, run_dir.parent.name == "reference")
        changed = prepared is not None and bool(_write(store, [prepared]))
        refresh_view(store, only_if_missing=not (changed and prepared is not None and prepared.answered))
        return changed


def rebuild(store: Store, settings: Settings) -> int:
    """Empty the store and read all run directories again.

    Returns:
        How many runs it holds now.
    """
    with store.transaction() as cursor:
        for table in _TABLES:
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
    return sync(store, settings)


def _known(store: Store, run_id: str = "") -> dict[str, tuple[str, str]]:
    """Return {run_id: (state, fingerprint)} of the runs in the store."""
    where = "WHERE run_id = ?" if run_id else ""
    with store.cursor() as cursor:
        rows = cursor.execute(
            f"SELECT run_id, state, fingerprint FROM runs {where}",  # noqa: S608 - no outside text
            [run_id] if run_id else [],
        ).fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}


@dataclass
class _Prepared:
    """A run that is to be written.

    Attributes:
        known: whether it is there already.
        answered: whether it has predictions, or had.
        rows: by table.
    """

    run_id: str
    known: bool
    answered: bool
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def _write(store: Store, runs: Sequence[_Prepared]) -> int:
    """Write runs in one transaction; if that fails, each in one of its own, so that one cannot stop the others.

    Returns:
        How many were written.
    """
    if not runs:
        return 0
    try:
        with store.transaction() as cursor:
            for run_id in (one.run_id for one in runs if one.known):
                _delete(cursor, run_id)
            for table in reversed(_TABLES):
                _insert(cursor, table, [row for one in runs for row in one.rows.get(table, ())])
    except Exception:
        if len(runs) > 1:
            return sum(_write(store, [one]) for one in runs)
        log.exception("run %s could not be taken into the store", runs[0].run_id)
        return 0
    return len(runs)


def _prepare(run_dir: Path, known: tuple[str, str] | None, reference: bool) -> _Prepared | None:
    """Return the rows of a run that changed, None if it did not."""
    files = _fingerprint(run_dir, ("config.json", "worker.json", "result.json", "cancel"))
    place = f"{run_dir}|{reference}"
    ended = f"{place}|{files}|{_fingerprint(run_dir, ('events.jsonl',))}"
    if known is not None and known[0] not in protocol.LIVE_STATES and known[1] == ended:
        return None
    view = read_run(run_dir)
    # Events of a live run arrive all the time; what people see of it comes from its view, not from here.
    fingerprint = f"{place}|{files}" if view.state in protocol.LIVE_STATES else ended
    if known == (view.state, fingerprint):
        return None
    result = protocol.read_json(run_dir / "result.json") if view.state == protocol.SUCCEEDED else None
    answered = isinstance(result, Mapping) or (known is not None and known[0] == protocol.SUCCEEDED)
    prepared = _Prepared(run_dir.name, known is not None, answered)
    prepared.rows["runs"] = [run_row(view, result, reference, fingerprint)]
    if isinstance(result, Mapping):
        prepared.rows["variants"], prepared.rows["scores"] = variant_rows(view.run_id, result)
    prepared.rows["stages"] = stage_rows(view, result)
    return prepared


def _fingerprint(run_dir: Path, names: Iterable[str]) -> str:
    parts = []
    for name in names:
        try:
            stat = (run_dir / name).stat()
            parts.append(f"{name}:{stat.st_mtime_ns}:{stat.st_size}")
        except OSError:
            continue
    return ",".join(parts)


def _delete(cursor: duckdb.DuckDBPyConnection, run_id: str) -> None:
    for table in _TABLES:
        cursor.execute(f"DELETE FROM {table} WHERE run_id = ?", [run_id])  # noqa: S608 - names of our own


def _insert(cursor: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the same columns in one statement (values as parameters would take many times as long)."""
    if not rows:
        return
    names = ", ".join(f'"{name}"' for name in rows[0])
    cursor.register("taken_in", pa.Table.from_pylist(list(rows)))
    try:
        cursor.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM taken_in")  # noqa: S608 - names of our own
    finally:
        cursor.unregister("taken_in")
