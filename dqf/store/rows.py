"""What a run directory says, as rows of the store's tables; a strange field costs only itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dqf.jobs import protocol
from dqf.jobs.views import RunView

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


def run_row(view: RunView, result: Any, reference: bool, fingerprint: str) -> dict[str, Any]:
    """Return the row of the table `runs`.

    Args:
        view: of the run directory.
        result: content of its result.json, whatever it is; None where there is none.
        reference: whether it is a committed run.
        fingerprint: of the files the row was made from.
    """
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
        "task": _typed(_part(whole, "task").get("name"), str) or _task_name(source),
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


def variant_rows(run_id: str, result: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
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
        row["fixed_lengths_json"] = json.dumps(_part(variant, "fixed_lengths"))
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


def stage_rows(view: RunView, result: Any) -> list[dict[str, Any]]:
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


def _task_name(source: str) -> str:
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
