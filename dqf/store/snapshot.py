"""What free queries can read: copies of the store's small tables, and where the predictions lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from dqf.store.db import Store
from dqf.store.predictions import PredictionFile, prediction_files

PREDICTIONS = "predictions"
_SQL = {
    "runs": """SELECT run_id, state, created, finished, preset, task, teacher, student, quantizer, bits, seed,
                      hardware, threads, baseline_runtime, reference, error, config_json, environment_json
               FROM runs ORDER BY created DESC""",
    "variants": """SELECT variants.* EXCLUDE (position, artifact, receipt, predictions), runs.task, runs.seed
                   FROM variants JOIN runs USING (run_id) ORDER BY runs.created DESC, run_id, variants.position""",
    "scores": """SELECT scores.* EXCLUDE (position), variants.variant, variants.bits
                 FROM scores JOIN variants USING (run_id, variant_id) ORDER BY run_id, variants.position""",
    "stages": "SELECT * FROM stages ORDER BY run_id, position",
}
SENTENCES = {
    "runs": "One row per launch: its settings, state and machine.",
    "variants": "One row per run and variant: size, latency, score and what they are relative to.",
    "scores": "One row per run, variant and task, with n and the 95 % interval.",
    "stages": "One row per run and stage: seconds, and whether it came from the cache.",
    PREDICTIONS: "One row per run, variant and evaluated example.",
}
"""The tables of a query, and what they hold."""
MEANINGS = {
    "baseline_runtime": "runtime the teacher was timed in",
    "bits": "per quantized weight; 16 is FP16",
    "cache": "hit or miss",
    "ci95_high": "upper end of the 95 % interval",
    "ci95_low": "lower end of the 95 % interval",
    "ci_method": "wilson or bootstrap",
    "compression_ratio": "teacher's FP16 file / this file",
    "confidence": "softmax probability of the prediction",
    "config_json": "every setting of the run",
    "created": "UTC",
    "environment_json": "machine and package versions",
    "finished": "UTC",
    "idx": "row of the evaluation set, from 0",
    "label": "true class number, or target",
    "latency_ms_p50": "median time of one example",
    "load_ms": "time to load in a fresh process",
    "logits": "one per class",
    "params": "parameters of the model",
    "peak_rss_bytes": "memory of the process that evaluated it",
    "prediction": "class number, or number",
    "reference": "committed with the project",
    "retention": "score / teacher's score",
    "score": "mean of the tasks' primary metrics",
    "size_bytes": "weight files that must ship",
    "speedup": "teacher's p50 / this p50",
    "state": "succeeded, running, failed, ...",
    "tokenizer_bytes": "counted apart from size_bytes",
    "value": "the metric",
    "variant": "teacher, student-ft, -kd, -ptq, -dqf",
    "variant_id": "unique within the run",
    "verified": "reloaded in a fresh process, logits agreed",
}
"""What a column holds, where its name does not say it."""


@dataclass(frozen=True)
class Snapshot:
    """The small tables of one revision of the store, and the files with predictions.

    Attributes:
        tables: by name.
        files: with predictions.
    """

    tables: Mapping[str, pa.Table]
    files: tuple[PredictionFile, ...]


def take(store: Store) -> Snapshot:
    """Return what a query can read now."""
    with store.cursor() as cursor:
        tables = {name: cursor.sql(sql).to_arrow_table() for name, sql in _SQL.items()}
    return Snapshot(tables, tuple(prediction_files(store)))


def columns(store: Store) -> dict[str, list[tuple[str, str, str]]]:
    """Return (name, type, meaning) of the columns of every table a query can read."""
    described = {**_SQL, PREDICTIONS: "SELECT * FROM predictions"}
    found = {}
    with store.cursor() as cursor:
        for name, sql in described.items():
            rows = cursor.execute(f"DESCRIBE {sql}").fetchall()
            found[name] = [(row[0], str(row[1]).lower(), MEANINGS.get(row[0], "")) for row in rows]
    return found
