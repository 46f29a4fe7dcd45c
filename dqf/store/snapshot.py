"""What free queries can read: copies of the store's small tables, and where the predictions lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dqf.store.db import Store
from dqf.store.predictions import prediction_files

PREDICTIONS, STUDY_PREDICTIONS, STUDY_VARIANTS = "predictions", "study_predictions", "study_variants"
STUDY_KEYS = "study, condition, task, seed, variant, bits"
_LAZY = {
    PREDICTIONS: ("run_id", "variant_id", "task"),
    STUDY_PREDICTIONS: tuple(STUDY_KEYS.split(", ")),
}
_FIGURES = {"idx": "bigint", "label": "double", "prediction": "double", "logits": "float[]", "confidence": "double"}
_SQL = {
    "runs": """SELECT run_id, state, created, finished, preset, task, teacher, student, quantizer, bits, seed,
                      hardware, threads, baseline_runtime, reference, error, config_json, environment_json
               FROM runs ORDER BY created DESC""",
    "variants": """SELECT variants.* EXCLUDE (position, artifact, receipt, predictions, first_task, first_metric,
                                     first_n), runs.task, runs.seed
                   FROM variants JOIN runs USING (run_id) ORDER BY runs.created DESC, run_id, variants.position""",
    "scores": """SELECT scores.* EXCLUDE (position, predictions), variants.variant, variants.bits
                 FROM scores JOIN variants USING (run_id, variant_id) ORDER BY run_id, variants.position""",
    "stages": "SELECT * FROM stages ORDER BY run_id, position",
}
SENTENCES = {
    "runs": "One row per launch: its settings, state and machine.",
    "variants": "One row per run and variant: size, latency, score and what they are relative to.",
    "scores": "One row per run, variant and task, with n and the 95 % interval.",
    "stages": "One row per run and stage: seconds, and whether it came from the cache.",
    PREDICTIONS: "One row per run, variant and evaluated example.",
    STUDY_VARIANTS: "One row per study, run and variant.",
    STUDY_PREDICTIONS: "One row per study, variant, seed and evaluated example; mnli-mismatched is in no average.",
}
"""The tables of a query, and what they hold."""
MEANINGS = {
    "argmax_agreement": "share of equal predictions",
    "baseline_runtime": "runtime the teacher was timed in",
    "bits": "per quantized weight; 16 is FP16",
    "cache": "hit or miss",
    "ci95_high": "upper end of the 95 % interval",
    "ci95_low": "lower end of the 95 % interval",
    "ci_method": "wilson or bootstrap",
    "compression_ratio": "teacher's FP16 file / this file",
    "condition": "what was varied besides task and seed",
    "confidence": "softmax probability of the prediction",
    "config_json": "every setting of the run",
    "created": "UTC",
    "energy_j_per_1000": "joules for 1000 examples at batch 8",
    "energy_source": "rapl or nvml (counters), or estimate or estimate_gpu",
    "energy_watts_per_core": "assumed by an estimate, of a core or the GPU",
    "environment_json": "machine and package versions",
    "error": "why it failed, one sentence",
    "extra": "scored beside the task, no part of the score",
    "finished": "UTC",
    "fixed_lengths": "how many text lengths had graphs of their own",
    "fixed_lengths_json": "text lengths with graphs of their own, and their gain",
    "group_size": "weights that share a scale; 0 is a whole row",
    "hardware": "name of the CPU or GPU",
    "idx": "row of the evaluation set, from 0",
    "key": "of the stage cache",
    "label": "true class number, or target",
    "latency_ms_mean": "mean time of one example",
    "latency_ms_p50": "median time of one example",
    "latency_ms_p90": "nine of ten examples are faster",
    "latency_ms_sd": "standard deviation of it",
    "latency_n": "timed examples",
    "load_ms": "time to load in a fresh process",
    "logits": "one per class",
    "metric": "accuracy, f1, matthews, ...",
    "metrics_json": "what the stage reported",
    "model": "model id or path it began from",
    "n": "examples",
    "params": "parameters of the model",
    "peak_rss_bytes": "memory of the process that evaluated it",
    "position": "order in the run",
    "prediction": "class number, or number",
    "preset": "what the launch began from",
    "quantizer": "gptq, awq, ...; none for FP16",
    "reference": "committed with the project",
    "relative_l2_error": "of the logits, file against memory",
    "retention": "score / teacher's score",
    "retention_ci95_high": "paired bootstrap, upper end",
    "retention_ci95_low": "paired bootstrap, lower end",
    "run_id": "folder of the run",
    "runtime": "that scored and timed it",
    "runtime_candidates_json": "all runtimes tried, with timings",
    "score": "mean of the tasks' primary metrics",
    "score_ci95_high": "upper end, where there is one task",
    "score_ci95_low": "lower end, where there is one task",
    "seconds": "wall clock",
    "seed": "of training and sampling",
    "shared_runtime": "one for all variants, timed besides",
    "size_bytes": "weight files that must ship",
    "size_bytes_expected": "size_bytes by arithmetic",
    "speedup": "teacher's p50 / this p50",
    "speedup_ci95_high": "bootstrap, upper end",
    "speedup_ci95_low": "bootstrap, lower end",
    "stage": "kind, and variant",
    "state": "succeeded, running, failed, ...",
    "status": "done, running, failed, ...",
    "student": "model id, path, or teacher-layers",
    "study": "folder of the study",
    "scale_bits": "of a group's scale; below 16 it is a multiple of its row's",
    "symmetric": "whether zero points are fixed",
    "task": "short name of the data",
    "teacher": "model id or path",
    "tasks_n": "tasks that the score is the mean of",
    "threads": "that models computed with",
    "throughput_batch": "examples per batch of throughput_per_s",
    "throughput_n": "timed batches",
    "throughput_per_s": "examples per second in batches, median",
    "title": "as the run page shows it",
    "tokenizer_bytes": "counted apart from size_bytes",
    "train_peak_memory_bytes": "of the training process",
    "train_seconds": "time its training took",
    "trained_params": "weights that training changed",
    "value": "the metric",
    "variant": "teacher, student-ft, -kd, -ptq, -dqf",
    "variant_id": "unique within the run",
    "verification_argmax_agreement": "share of equal predictions",
    "verification_n": "examples that were compared",
    "verification_relative_l2_error": "of the logits, file against memory",
    "verification_tolerance": "largest error that passes",
    "verified": "reloaded in a fresh process, logits agreed",
    "weights_sha256": "hash of the weight file",
}
"""What each column holds."""


@dataclass(frozen=True)
class Snapshot:
    """The small tables of one revision of the store, and the files with predictions.

    Attributes:
        tables: by name.
        files: by name of a table that is read when a query asks for it, the path of each file and what is the
            same in all its rows.
    """

    tables: Mapping[str, pa.Table]
    files: Mapping[str, list[dict[str, str]]]


def take(store: Store, studies: Sequence[Path] = ()) -> Snapshot:
    """Return what a query can read now.

    Args:
        store: the store.
        studies: folders of studies; tables of theirs are there only if one can be read.
    """
    with store.cursor() as cursor:
        tables = {name: cursor.sql(sql).to_arrow_table() for name, sql in _SQL.items()}
    files = {
        PREDICTIONS: [
            {"path": str(one.path), "run_id": one.run_id, "variant_id": one.variant_id, "run_task": one.task}
            for one in prediction_files(store)
        ]
    }
    variants, found = _studies(studies)
    if variants:
        tables[STUDY_VARIANTS] = pa.concat_tables(variants, promote_options="permissive")
        files[STUDY_PREDICTIONS] = found
    return Snapshot(tables, files)


def _studies(folders: Sequence[Path]) -> tuple[list[pa.Table], list[dict[str, str]]]:
    """Return the variants of each study that can be read, and the files of its predictions."""
    variants, files = [], []
    for folder in folders:
        try:
            table = pq.read_table(folder / "variants.parquet")
        except (OSError, ValueError):  # ArrowInvalid is a ValueError
            continue
        name = pa.array([folder.name] * table.num_rows, pa.string())
        variants.append(table.add_column(0, "study", name))
        files += [
            {"path": str(path), "study": folder.name} for path in sorted((folder / "predictions").glob("*.parquet"))
        ]
    return variants, files


def columns(snapshot: Snapshot) -> dict[str, list[tuple[str, str, str]]]:
    """Return (name, type, meaning) of the columns of every table a query can read."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    with duckdb.connect(":memory:") as connection:
        for name in SENTENCES:
            if name in snapshot.tables:
                connection.register("described", snapshot.tables[name].slice(0, 0))
                rows = connection.execute("DESCRIBE described").fetchall()
                found[name] = [(row[0], str(row[1]).lower(), MEANINGS.get(row[0], "")) for row in rows]
            elif name in snapshot.files:
                types = {key: "bigint" if key == "seed" else "varchar" for key in _LAZY[name]} | _FIGURES
                found[name] = [(key, kind, MEANINGS.get(key, "")) for key, kind in types.items()]
    return found
