"""From run directories to the store: one transaction per run, only for runs that changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dqf.jobs import protocol
from dqf.jobs.views import RunView, read_run
from dqf.settings import Settings
from dqf.store.db import Store
from dqf.store.predictions import refresh_view

log = logging.getLogger(__name__)

BATCH = 200
"""Runs per transaction: a commit takes longer than writing them."""
_TABLES = ("stages", "scores", "variants", "runs")
_VARIANT_COLUMNS: dict[str, type] = {
    "variant": str,
    "model": str,
    "bits": float,
    "quantizer": str,
    "group_size": int,
    "symmetric": bool,
    "scale_bits": int,
    "runtime": str,
    "params": int,
    "size_bytes": int,
    "size_bytes_expected": int,
    "tokenizer_bytes": int,
    "compression_ratio": float,
    "score": float,
    "retention": float,
    "retention_ci95_low": float,
    "retention_ci95_high": float,
    "latency_ms_p50": float,
    "latency_ms_p90": float,
    "latency_ms_mean": float,
    "latency_ms_sd": float,
    "latency_n": int,
    "speedup": float,
    "speedup_ci95_low": float,
    "speedup_ci95_high": float,
    "throughput_per_s": float,
    "throughput_batch": int,
    "throughput_n": int,
    "energy_j_per_1000": float,
    "energy_source": str,
    "energy_watts_per_core": float,
    "load_ms": float,
    "peak_rss_bytes": int,
    "verified": bool,
    "weights_sha256": str,
    "artifact": str,
    "receipt": str,
    "predictions": str,
}
_VERIFICATION_COLUMNS: dict[str, type] = {
    "relative_l2_error": float,
    "argmax_agreement": float,
    "tolerance": float,
    "n": int,
}
_SCORE_COLUMNS: dict[str, type] = {
    "metric": str,
    "value": float,
    "n": int,
    "ci95_low": float,
    "ci95_high": float,
    "ci_method": str,
    "extra": bool,
    "predictions": str,
}


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
        waiting: list[_Prepared] = []
        for run_id, run_dir in sorted(found.items()):
            try:
                prepared = _prepare(run_dir, known.get(run_id), run_id in references)
            except Exception:
                log.exception("run %s could not be taken into the store", run_id)
                continue
            if prepared is not None:
                waiting.append(prepared)
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
        refresh_view(store, only_if_missing=not changed)
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
        refresh_view(store, only_if_missing=not changed)
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
    """A run that is to be written: whether it is there already, and its rows by table."""

    run_id: str
    known: bool
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
    prepared = _Prepared(run_dir.name, known is not None)
    prepared.rows["runs"] = [_run_row(view, result, reference, fingerprint)]
    if isinstance(result, Mapping):
        prepared.rows["variants"], prepared.rows["scores"] = _variant_rows(view.run_id, result)
    prepared.rows["stages"] = _stage_rows(view, result)
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


def _run_row(view: RunView, result: Any, reference: bool, fingerprint: str) -> dict[str, Any]:
    config = view.config
    whole: Mapping[str, Any] = result if isinstance(result, Mapping) else {}
    quantization = _part(config, "quantization")
    bits = quantization.get("bits")
    source = _typed(_part(config, "task").get("source"), str) or ""
    error = view.error
    if view.state == protocol.SUCCEEDED and not whole:
        error = "result.json must be readable JSON: it is not; resume or repeat the run."
    environment = _part(whole, "environment")
    baseline = _part(whole, "baseline")
    written = _time_of(whole.get("created"))
    return {
        "run_id": view.run_id,
        "state": view.state,
        "created": _utc(view.created),
        "started": _utc(view.started),
        "finished": _utc(written or view.finished),
        "preset": _typed(config.get("preset"), str),
        "teacher": _typed(_part(config, "teacher").get("model"), str),
        "student": _typed(_part(config, "student").get("model"), str),
        "task": _typed(_part(whole, "task").get("name"), str) or task_name(source),
        "bits": ", ".join(str(one) for one in bits) if isinstance(bits, Sequence) else None,
        "quantizer": _typed(quantization.get("quantizer"), str),
        "seed": _typed(config.get("seed"), int),
        "config_json": json.dumps(config),
        "error": error,
        "reference": reference,
        "run_dir": str(view.run_dir),
        "hardware": _typed(baseline.get("hardware"), str) or _typed(environment.get("cpu"), str),
        "threads": _typed(baseline.get("threads"), int) or _typed(environment.get("threads"), int),
        "baseline_runtime": _typed(baseline.get("runtime"), str),
        "environment_json": json.dumps(environment),
        "fingerprint": fingerprint,
    }


def _variant_rows(run_id: str, result: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of variants and of their scores."""
    variants: dict[str, dict[str, Any]] = {}
    scores: list[dict[str, Any]] = []
    for position, variant in enumerate(_list(result.get("variants"))):
        if not isinstance(variant, Mapping):
            continue
        variant_id = _typed(variant.get("variant_id"), str) or f"variant-{position}"
        if variant_id in variants:
            continue
        key = {"run_id": run_id, "variant_id": variant_id}
        verification = _part(variant, "verification")
        row: dict[str, Any] = {**key, "position": position}
        row.update({name: _typed(variant.get(name), kind) for name, kind in _VARIANT_COLUMNS.items()})
        row.update(
            {
                f"verification_{name}": _typed(verification.get(name), kind)
                for name, kind in _VERIFICATION_COLUMNS.items()
            }
        )
        row["runtime_candidates_json"] = json.dumps(_list(variant.get("runtime_candidates")))
        own = [
            {
                **key,
                "position": number,
                "task": str(task),
                **{name: _typed(score.get(name), kind) for name, kind in _SCORE_COLUMNS.items()},
            }
            for number, (task, score) in enumerate(_part(variant, "tasks").items())
            if isinstance(score, Mapping)
        ]
        variants[variant_id] = {**row, **_first_task(own)}
        scores += own
    return list(variants.values()), scores


def _first_task(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the first task of a variant says; the score's interval only where there is no other task."""
    counted = [score for score in scores if not score["extra"]]
    first: Mapping[str, Any] = counted[0] if counted else {}
    alone: Mapping[str, Any] = first if len(counted) == 1 else {}
    return {
        "first_task": first.get("task"),
        "first_metric": first.get("metric"),
        "first_n": first.get("n"),
        "tasks_n": len(counted) or None,
        "score_ci95_low": alone.get("ci95_low"),
        "score_ci95_high": alone.get("ci95_high"),
    }


def _stage_rows(view: RunView, result: Any) -> list[dict[str, Any]]:
    """Return the stages as the result tells them, or as the events do where there is no result."""
    recorded = _list(result.get("stages")) if isinstance(result, Mapping) else []
    rows: list[dict[str, Any]] = [
        {
            "stage": _typed(stage.get("id"), str) or "",
            "title": _typed(stage.get("title"), str),
            "key": _typed(stage.get("key"), str),
            "cache": _typed(stage.get("cache"), str),
            "status": "done",
            "seconds": _typed(stage.get("seconds"), float),
            "metrics_json": json.dumps(_part(stage, "metrics")),
        }
        for stage in recorded
        if isinstance(stage, Mapping)
    ] or [
        {
            "stage": stage.id,
            "title": stage.title,
            "key": None,
            "cache": stage.cache,
            "status": stage.status,
            "seconds": stage.seconds,
            "metrics_json": json.dumps(dict(stage.metrics)),
        }
        for stage in view.stages
    ]
    return [{"run_id": view.run_id, "position": position, **row} for position, row in enumerate(rows)]


def task_name(source: str) -> str:
    """Return the short name of a task source: `glue:sst2` -> `sst2`, `file:a/b.csv` -> `b`."""
    kind, _, name = source.partition(":")
    return Path(name).stem if kind == "file" else name or kind


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = data.get(name)
    return part if isinstance(part, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _typed(value: Any, kind: type) -> Any:
    """Return the value if it is of the declared kind, else None, so that a strange field costs only itself."""
    if isinstance(value, bool) or kind is bool:
        return value if isinstance(value, bool) and kind is bool else None
    if kind is str:
        return value if isinstance(value, str) else None
    if not isinstance(value, int | float) or value != value or abs(value) > 2**62:
        return None
    return int(value) if kind is int else float(value)


def _time_of(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _utc(moment: datetime | None) -> datetime | None:
    """Return a time for a TIMESTAMP column: UTC without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None
