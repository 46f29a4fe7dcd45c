"""Record: figures of all variants become `result.json`; predictions and artifacts go to the run directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dqf import registry
from dqf.artifacts import WEIGHTS, Artifact, open_artifact
from dqf.environment import describe
from dqf.evaluate.metrics import FURTHER, compute_metric, interval_for, majority_score, metric
from dqf.evaluate.sanity import Flag, check_above_constant, check_gain, check_teacher, check_timings
from dqf.evaluate.statistics import paired_bootstrap_difference, paired_bootstrap_ratio, paired_ratio_interval
from dqf.evaluate.throughput import throughput_figures
from dqf.jobs.protocol import write_json
from dqf.sections import QuantizationConfig
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages.benchmark import SHARED_TIMES, THROUGHPUT, TIMES
from dqf.stages.evaluate import PREDICTIONS, extra_predictions
from dqf.stages.export import ARTIFACT

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Measured:
    """A variant with the stages that made it.

    Attributes:
        variant_id: unique within the run.
        variant: `teacher`, `student-ft`, `student-kd`, `student-ptq` or `student-dqf`.
        model: source of its weights.
        bits: per quantized weight, on average where mixed; 16 for FP16 files.
        export, evaluation: outputs of its stages.
        verification: content of `verification.json`.
        runtime: the one that was chosen.
        fixed_lengths: content of `fixed_lengths.json`, with the lengths it is timed with.
    """

    variant_id: str
    variant: str
    model: str
    bits: float
    export: Output
    verification: dict[str, Any]
    runtime: str
    evaluation: Output
    fixed_lengths: dict[str, Any]

    @property
    def artifact(self) -> Artifact:
        """The exported artifact."""
        return open_artifact(self.export.folder / ARTIFACT, check=False)

    @property
    def peak_rss_bytes(self) -> int:
        """Of the process that evaluated it, with the graphs it is timed with and without those it is not."""
        name = "peak_rss_bytes_with_graphs" if self.fixed_lengths["lengths"] else "peak_rss_bytes"
        return int(self.evaluation.metrics[name])


def record_result(
    context: Context, variants: Sequence[Measured], benchmark: Output, shared: Output | None = None
) -> dict[str, Any]:
    """Write artifacts, predictions and `result.json` to the run directory; return the result.

    Args:
        context: of the run.
        variants: all variants, the teacher first.
        benchmark: output of the benchmark stage.
        shared: output of the benchmark in one runtime, if there was one.
    """
    times = pd.read_parquet(benchmark.folder / TIMES)
    teacher = variants[0]
    batches = pd.read_parquet(benchmark.folder / THROUGHPUT)
    rows = [_variant(context, one, teacher, times, batches) for one in variants]
    for name in (TIMES, THROUGHPUT):
        shutil.copyfile(benchmark.folder / name, context.run_dir / name)
    if shared is not None:
        shutil.copyfile(shared.folder / TIMES, context.run_dir / SHARED_TIMES)
        shared_times = pd.read_parquet(shared.folder / TIMES)
        for row in rows:
            row["shared"] = _shared(context.shared_runtime, row["variant_id"], teacher, shared_times)
    environment = describe(str(context.device), context.threads)
    result = {
        "schema_version": SCHEMA_VERSION,
        "run_id": context.run_dir.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": context.config.to_dict(),
        "environment": environment,
        "task": {
            "name": context.task.name,
            "kind": context.task.kind,
            "labels": list(context.task.labels),
            "metric": context.task.metric,
            "train_n": len(context.task.train),
            "eval_n": len(context.task.evaluation),
            "data_sha256": context.task_sha256,
            "note": context.task.note,
            "published": context.task.published,
        },
        "baseline": {
            "model": teacher.model,
            "precision": "FP16 file",
            "runtime": rows[0]["runtime"],
            "threads": context.threads,
            "hardware": environment.get("gpu", environment["cpu"]),
        },
        "stages": context.cache.records,
        "sanity": [
            asdict(flag)
            for flag in (*_sanity(context, variants), *check_timings(context.task.name, times["row"].nunique()))
        ],
        "variants": rows,
    }
    write_json(context.run_dir / "result.json", result)
    return result


def _sanity(context: Context, variants: Sequence[Measured]) -> list[Flag]:
    """Return what is suspicious: a weak teacher, or a variant that beats it, or is worse than a constant."""
    task, (teacher, *others) = context.task, variants
    reference = pd.read_parquet(teacher.evaluation.folder / PREDICTIONS)
    labels, own = reference["label"].to_numpy(), reference["prediction"].to_numpy()
    score, majority = compute_metric(task.metric, labels, own), majority_score(task.metric, labels)
    flags = check_teacher(task.name, score, majority, task.published, task.note)
    for one in others:
        predictions = pd.read_parquet(one.evaluation.folder / PREDICTIONS)["prediction"].to_numpy()
        gain = paired_bootstrap_difference(metric(task.metric), labels, predictions, own, seed=0)
        flags += check_gain(task.name, one.variant_id, gain, score)
        low, high, _ = interval_for(task.metric, labels, predictions)
        reached = (compute_metric(task.metric, labels, predictions), low, high)
        flags += check_above_constant(task.name, one.variant_id, reached, majority)
    return flags


def _variant(
    context: Context, one: Measured, teacher: Measured, times: pd.DataFrame, batches: pd.DataFrame
) -> dict[str, Any]:
    artifact, metrics = one.artifact, one.evaluation.metrics
    ms = times[one.variant_id].to_numpy()
    teacher_ms = times[teacher.variant_id].to_numpy()
    speedup = paired_ratio_interval(teacher_ms, ms, seed=0)
    quantization = context.config.quantization
    return {
        "variant_id": one.variant_id,
        "variant": one.variant,
        "model": one.model,
        "bits": one.bits,
        "quantizer": quantization.quantizer if artifact.is_packed else None,
        **_grouping(quantization, artifact.is_packed),
        "scale_bits": artifact.scale_bits,
        "runtime": one.runtime,
        "runtime_candidates": one.verification["candidates"],
        "fixed_lengths": one.fixed_lengths,
        "params": artifact.manifest["params"],
        "size_bytes": artifact.size_bytes,
        "size_bytes_expected": artifact.manifest["size_bytes_expected"],
        "tokenizer_bytes": artifact.tokenizer_bytes,
        "compression_ratio": teacher.artifact.size_bytes / artifact.size_bytes,
        **_scores(context, one, teacher),
        "latency_ms_p50": float(np.percentile(ms, 50)),
        "latency_ms_p90": float(np.percentile(ms, 90)),
        "latency_ms_mean": float(ms.mean()),
        "latency_ms_sd": float(ms.std(ddof=1)),
        "latency_n": len(ms),
        "speedup": float(np.median(teacher_ms) / np.median(ms)),
        "speedup_ci95_low": speedup[1],
        "speedup_ci95_high": speedup[2],
        **throughput_figures(
            batches[batches["variant_id"] == one.variant_id],
            context.device.type,
            context.settings.watts_per_core,
            context.settings.watts_per_gpu,
        ),
        "load_ms": metrics["load_ms"],
        "peak_rss_bytes": one.peak_rss_bytes,
        "verified": bool(metrics["verified"]),
        "verification": {
            "relative_l2_error": metrics["relative_l2_error"],
            "argmax_agreement": metrics["argmax_agreement"],
            "tolerance": one.verification["tolerance"],
            "n": one.verification["n"],
        },
        "weights_sha256": artifact.manifest["files"][WEIGHTS],
        **_place_files(context.run_dir, one, artifact),
    }


def _grouping(quantization: QuantizationConfig, packed: bool) -> dict[str, Any]:
    """Return group size and symmetry of a quantized variant; some methods have their own whatever is set."""
    if not packed:
        return {"group_size": None, "symmetric": None}
    if registry.get("quantizer", quantization.quantizer).facts.get("per_row"):
        return {"group_size": 0, "symmetric": True}
    return {"group_size": quantization.group_size, "symmetric": quantization.symmetric}


def _shared(runtime: str, variant_id: str, teacher: Measured, times: pd.DataFrame) -> dict[str, Any] | None:
    """Return latency and speed-up in the shared runtime, None for a variant that was not timed there."""
    if variant_id not in times or teacher.variant_id not in times:
        return None
    ms, teacher_ms = times[variant_id].to_numpy(), times[teacher.variant_id].to_numpy()
    speedup, low, high = paired_ratio_interval(teacher_ms, ms, seed=0)
    return {
        "runtime": runtime,
        "latency_ms_p50": float(np.percentile(ms, 50)),
        "speedup": speedup,
        "speedup_ci95_low": low,
        "speedup_ci95_high": high,
    }


def _scores(context: Context, one: Measured, teacher: Measured) -> dict[str, Any]:
    """Return tasks, score and retention from the stored predictions."""
    task = context.task
    frame = pd.read_parquet(one.evaluation.folder / PREDICTIONS)
    reference = pd.read_parquet(teacher.evaluation.folder / PREDICTIONS)
    labels, predictions = frame["label"].to_numpy(), frame["prediction"].to_numpy()
    value = compute_metric(task.metric, labels, predictions)
    teacher_predictions = reference["prediction"].to_numpy()
    teacher_value = compute_metric(task.metric, labels, teacher_predictions)
    _, retention_low, retention_high = paired_bootstrap_ratio(
        metric(task.metric), labels, predictions, teacher_predictions, seed=0
    )
    return {
        "tasks": {
            task.name: _score(task.metric, frame),
            **{name: _extra_score(context, one, name) for name in task.extra},
        },
        "score": value,
        "retention": value / teacher_value if teacher_value > 0 else None,
        "retention_ci95_low": retention_low if teacher_value > 0 else None,
        "retention_ci95_high": retention_high if teacher_value > 0 else None,
    }


def _score(name: str, frame: pd.DataFrame) -> dict[str, Any]:
    """Return metric, value and interval of predictions."""
    labels, predictions = frame["label"].to_numpy(), frame["prediction"].to_numpy()
    low, high, method = interval_for(name, labels, predictions, seed=0)
    value = compute_metric(name, labels, predictions)
    row = {
        "metric": name,
        "value": value,
        "n": len(frame),
        "ci95_low": low,
        "ci95_high": high,
        "ci_method": method,
    }
    further = [_score(other, frame) for other in FURTHER.get(name, ())]
    return row | {"further": further} if further else row


def _extra_score(context: Context, one: Measured, part: str) -> dict[str, Any]:
    """Return the score of an extra part and put its predictions into the run directory."""
    source = one.evaluation.folder / extra_predictions(part)
    path = Path("predictions") / part / f"{one.variant_id}.parquet"
    (context.run_dir / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, context.run_dir / path)
    return {**_score(context.task.metric, pd.read_parquet(source)), "extra": True, "predictions": str(path)}


def _place_files(run_dir: Path, one: Measured, artifact: Artifact) -> dict[str, Any]:
    """Put artifact, receipt and predictions into the run directory; return their relative paths."""
    target = Path("artifacts") / one.variant_id
    _link_tree(artifact.folder, run_dir / target)
    predictions = Path("predictions") / f"{one.variant_id}.parquet"
    (run_dir / predictions).parent.mkdir(exist_ok=True)
    shutil.copyfile(one.evaluation.folder / PREDICTIONS, run_dir / predictions)
    receipt = None
    if (artifact.folder / "receipt.json").is_file():
        path = Path("receipts") / f"{one.variant_id}.json"
        (run_dir / path).parent.mkdir(exist_ok=True)
        shutil.copyfile(artifact.folder / "receipt.json", run_dir / path)
        receipt = str(path)
    return {"artifact": str(target), "receipt": receipt, "predictions": str(predictions)}


def _link_tree(source: Path, target: Path) -> None:
    """Copy a flat folder, sharing the bytes of its files with the stage cache where the disk can."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in source.iterdir():
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copyfile(file, target / file.name)
