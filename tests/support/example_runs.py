"""Synthetic run directories for tests: every file a real run leaves, with made-up figures.

The figures are consistent with one another (scores follow from the predictions files, ratios from
sizes and times) but were not measured; never show them outside tests.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from dqf.config import RunConfig
from dqf.data.catalog import glue_task
from dqf.evaluate.metrics import compute_metric, interval_for
from dqf.jobs import protocol
from dqf.jobs.identity import Worker
from dqf.presets import preset_config, preset_names
from tests.support.example_receipts import example_receipt

BBC_LABELS = ("business", "entertainment", "politics", "sport", "tech")
STAGES = (
    ("data", "Read the task"),
    ("teacher", "Fine-tune the teacher"),
    ("teacher-outputs", "Teacher outputs"),
    ("student-ft", "Train Student-FT"),
    ("student-kd", "Train Student-KD"),
    ("quantize", "Quantize"),
    ("export", "Export"),
    ("verify", "Verify in a fresh process"),
    ("evaluate", "Evaluate"),
    ("benchmark", "Benchmark"),
)
TRAINING_STAGES = ("teacher", "student-ft", "student-kd")
_COUNTER = itertools.cycle(range(int(secrets.token_hex(2), 16), 16**4))
DEAD_PID = 2**22 + 1
"""Above Linux's largest process id, so never alive."""


@dataclass(frozen=True)
class _Sketch:
    """What the figures of one variant are made from."""

    variant_id: str
    variant: str
    bits: int
    params: int
    weight_bytes: int
    error_rate: float
    latency_ms: float


def write_example_run(
    root: Path,
    *,
    label: str = "starter",
    bits: tuple[int, ...] = (4,),
    state: str = protocol.SUCCEEDED,
    seed: int = 0,
    task: str = "bbc-headlines",
    n: int = 400,
    age_seconds: float = 600.0,
) -> Path:
    """Write one run directory below `root` and return it.

    Args:
        root: the folder of run directories, for example `settings.runs_dir`.
        label: goes into the run id; a preset's name also chooses that preset.
        bits: bit-widths of the quantized variants.
        state: the state the directory shall be in; a running run's worker is the calling process.
        seed: seed of config and figures.
        task: `bbc-headlines` or the name of a GLUE task.
        n: evaluated examples.
        age_seconds: how long ago the run was launched.
    """
    created = time.time() - age_seconds
    run_dir = root / f"{datetime.fromtimestamp(created, UTC):%Y%m%d-%H%M%S}-{label}-{next(_COUNTER):04x}"
    assert protocol.valid_run_id(run_dir.name), run_dir.name
    run_dir.mkdir(parents=True)
    source = "starter:bbc-headlines" if task == "bbc-headlines" else f"glue:{task}"
    config = preset_config(
        label if label in preset_names() else "starter",
        {"seed": seed, "task": {"source": source}, "quantization": {"bits": list(bits)}},
    )
    protocol.write_json(run_dir / "config.json", config.to_dict())
    os.utime(run_dir / "config.json", (created, created))
    if state == protocol.QUEUED:
        return run_dir
    _write_worker(run_dir, created + 1, alive=state in (protocol.RUNNING, protocol.CANCELLING))
    if state in (protocol.CANCELLING, protocol.CANCELLED):
        protocol.request_cancel(run_dir)
    _write_events(run_dir, state, created + 1)
    if state == protocol.SUCCEEDED:
        protocol.write_json(run_dir / "result.json", _result(run_dir, config, task, n, created))
    return run_dir


def end_example_run(run_dir: Path) -> None:
    """Let a running example run end well, as a worker ends one: the result comes last."""
    config = RunConfig.from_dict(protocol.read_json(run_dir / "config.json"))
    created = (run_dir / "config.json").stat().st_mtime
    protocol.EventLog(run_dir).append("terminal", data={"state": protocol.SUCCEEDED, "error": ""})
    protocol.write_json(run_dir / "result.json", _result(run_dir, config, "bbc-headlines", 400, created))


def _write_worker(run_dir: Path, started: float, alive: bool) -> None:
    if alive:
        worker = Worker(os.getpid(), psutil.Process().create_time(), started)
    else:
        worker = Worker(DEAD_PID, started, started)
    protocol.write_json(run_dir / "worker.json", asdict(worker))
    (run_dir / "worker.log").write_text("reading the task\nfine-tuning the teacher\nstep 10 of 200\n", encoding="utf-8")


def _write_events(run_dir: Path, state: str, started: float) -> None:
    """Write the events of a run that went through, or up to the middle of Student-KD."""
    rng = np.random.default_rng(7)
    lines: list[dict[str, Any]] = []
    clock = started

    def add(kind: str, seconds: float = 0.0, **fields: Any) -> None:
        nonlocal clock
        clock += seconds
        lines.append(asdict(protocol.Event(len(lines), round(clock, 3), kind, **fields)))

    add("plan", data={"stages": [{"id": stage, "title": title} for stage, title in STAGES]})
    for stage, _ in STAGES:
        begun = clock
        add("stage_started", 0.05, stage=stage)
        total = 200 if stage in TRAINING_STAGES else 20
        stops_here = state != protocol.SUCCEEDED and stage == "student-kd"
        for step in range(10, total + 1, 10):
            loss = 1.6 * float(np.exp(-step / 60)) + 0.15 + 0.03 * float(rng.normal())
            metrics = {"loss": round(loss, 4)} if stage in TRAINING_STAGES else {}
            add("progress", 0.5, stage=stage, step=step, total=total, eta_s=(total - step) / 20.0, metrics=metrics)
            if stops_here and step >= total // 2:
                break
        if stops_here:
            break
        if stage == "data":
            add("message", stage=stage, text="2096 distinct headlines; 1676 to train, 420 to evaluate")
        add("heartbeat", 0.1)
        add("stage_done", 0.1, stage=stage, metrics={"seconds": round(clock - begun, 2), "cache": "miss"})
    error = "training needs more memory than there is: halve `student.batch_size`." if state == protocol.FAILED else ""
    if state in (protocol.SUCCEEDED, protocol.FAILED, protocol.CANCELLED):
        add("terminal", 0.1, data={"state": state, "error": error})
    with (run_dir / "events.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _sketches(config: RunConfig) -> list[_Sketch]:
    teacher_params = 134_515_008
    student_params = 22_714_757 if config.student.model.startswith("starter:") else 63_718_656
    slow = 1.0 if student_params < 30_000_000 else 4.6
    quantizer = config.quantization.quantizer
    sketches = [
        _Sketch("teacher", "teacher", 16, teacher_params, 2 * teacher_params, 0.045, 22.5),
        _Sketch("student-ft", "student-ft", 16, student_params, 2 * student_params, 0.075, 2.1 * slow),
        _Sketch("student-kd", "student-kd", 16, student_params, 2 * student_params, 0.062, 2.12 * slow),
    ]
    for bits in config.quantization.bits:
        packed = int(student_params * (bits + 1.0) / 8)
        loss = {8: 0.001, 4: 0.008, 3: 0.03, 2: 0.18}[bits]
        for variant, base, extra in (("student-ptq", 0.075, 1.2), ("student-dqf", 0.062, 1.0)):
            name = f"{variant}-{quantizer}-{bits}bit"
            sketches.append(
                _Sketch(name, variant, bits, student_params, packed, base + loss * extra, (1.3 + 0.05 * bits) * slow)
            )
    return sketches


def _labels_and_metric(task: str) -> tuple[tuple[str, ...], str]:
    glue = glue_task(task)
    return (glue.labels, glue.metric) if glue else (BBC_LABELS, "accuracy")


def _write_predictions(path: Path, truth: np.ndarray, classes: int, error_rate: float, rng: np.random.Generator) -> Any:
    """Write a predictions file and return the predictions."""
    count = len(truth)
    if classes:
        wrong = rng.random(count) < error_rate
        predicted = np.where(wrong, (truth + rng.integers(1, classes, count)) % classes, truth).astype(np.int64)
        logits = rng.normal(0, 0.4, (count, classes))
        logits[np.arange(count), predicted] += 3
    else:
        predicted = np.clip(truth + rng.normal(0, 0.3 + 4 * error_rate, count), 0, 5)
        logits = predicted[:, None]
    path.parent.mkdir(exist_ok=True)
    rows = [row.astype(np.float32).tolist() for row in logits]
    pd.DataFrame({"idx": np.arange(count), "label": truth, "prediction": predicted, "logits": rows}).to_parquet(path)
    return predicted


def _write_receipt(path: Path, sketch: _Sketch, config: RunConfig) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = example_receipt(
        sketch.bits,
        llama=not config.student.model.startswith("starter:"),
        quantizer=config.quantization.quantizer,
        group_size=config.quantization.group_size,
        seed=config.seed,
    )
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _result(run_dir: Path, config: RunConfig, task: str, n: int, created: float) -> dict[str, Any]:
    labels, metric = _labels_and_metric(task)
    rng = np.random.default_rng(config.seed)
    truth = rng.integers(0, len(labels), n) if labels else rng.uniform(0, 5, n)
    sketches = _sketches(config)
    teacher = sketches[0]
    variants: list[dict[str, Any]] = []
    for sketch in sketches:
        where = f"predictions/{sketch.variant_id}.parquet"
        predicted = _write_predictions(run_dir / where, truth, len(labels), sketch.error_rate, rng)
        variants.append(_variant(sketch, teacher, config, task, metric, truth, predicted, where, variants))
        if variants[-1]["receipt"]:
            _write_receipt(run_dir / variants[-1]["receipt"], sketch, config)
    threads = 2
    return {
        "schema_version": 1,
        "run_id": run_dir.name,
        "created": datetime.fromtimestamp(created + 300, UTC).isoformat(),
        "config": config.to_dict(),
        "environment": {
            "python": "3.11.9",
            "platform": "Linux-x86_64",
            "cpu": "Example CPU",
            "cores": 2,
            "threads": threads,
            "memory_bytes": 16_000_000_000,
            "device": "cpu",
            "packages": {"torch": "2.13.0", "transformers": "5.23.0", "openvino": "2026.4.1"},
            "dqf_version": "0.1.0",
            "git_commit": "0" * 40,
        },
        "task": {
            "name": task,
            "kind": "classification" if labels else "regression",
            "labels": list(labels),
            "metric": metric,
            "train_n": 4 * n,
            "eval_n": n,
            "data_sha256": "a" * 64,
            "note": "synthetic example",
        },
        "baseline": {
            "model": config.teacher.model,
            "precision": "FP16 file",
            "runtime": variants[0]["runtime"],
            "threads": threads,
            "hardware": "Example CPU",
        },
        "stages": [
            {"id": stage, "title": title, "key": f"{index:064x}", "cache": "miss", "seconds": 5.0, "metrics": {}}
            for index, (stage, title) in enumerate(STAGES)
        ],
        "variants": variants,
    }


def _variant(
    sketch: _Sketch,
    teacher: _Sketch,
    config: RunConfig,
    task: str,
    metric: str,
    truth: Any,
    predicted: Any,
    predictions_file: str,
    earlier: list[dict[str, Any]],
) -> dict[str, Any]:
    n = len(truth)
    score = compute_metric(metric, truth, predicted)
    low, high, method = interval_for(metric, truth, predicted, config.seed, n_resamples=200)
    half = (high - low) / 2
    quantized = sketch.bits < 16
    baseline = earlier[0]["score"] if earlier else score
    runtime = "openvino-int8" if quantized else "openvino-bf16"
    speedup = teacher.latency_ms / sketch.latency_ms
    retention = score / baseline if baseline else 0.0
    return {
        "variant_id": sketch.variant_id,
        "variant": sketch.variant,
        "model": config.teacher.model if sketch.variant == "teacher" else config.student.model,
        "bits": sketch.bits,
        "quantizer": config.quantization.quantizer if quantized else None,
        "group_size": config.quantization.group_size if quantized else None,
        "symmetric": config.quantization.symmetric if quantized else None,
        "runtime": runtime,
        "runtime_candidates": [
            {
                "runtime": name,
                "precision": "BF16",
                "latency_ms_p50": round(sketch.latency_ms * factor, 3),
                "pooled_latency": factor,
                "relative_l2_error": 0.01,
                "argmax_agreement": 0.998,
                "faithful": True,
                "error": None,
            }
            for name, factor in ((runtime, 1.0), ("torch-fp32", 4.5))
        ]
        + [
            {
                "runtime": "openvino-w8a8",
                "latency_ms_p50": 1.0,
                "relative_l2_error": 0.3,
                "faithful": False,
                "error": "",
            },
            {"runtime": "torch-packed", "faithful": False, "error": "not started: far slower for another variant"},
        ],
        "fixed_lengths": {
            "lengths": [8, 16, 24],
            "mb_each": 30.0,
            "relative_l2_error": 0.01,
            "any_length_ms_p50": round(sketch.latency_ms * 1.25, 3),
            "fixed_length_ms_p50": round(sketch.latency_ms, 3),
            "pooled_ratio": 0.8,
        }
        if quantized
        else {"lengths": []},
        "params": sketch.params,
        "size_bytes": sketch.weight_bytes + 12_345,
        "size_bytes_expected": sketch.weight_bytes,
        "tokenizer_bytes": 466_081,
        "compression_ratio": (teacher.weight_bytes + 12_345) / (sketch.weight_bytes + 12_345),
        "tasks": {
            task: {
                "metric": metric,
                "value": score,
                "n": n,
                "ci95_low": low,
                "ci95_high": high,
                "ci_method": method,
            }
        },
        "score": score,
        "retention": retention,
        "retention_ci95_low": retention - half if earlier else 1.0,
        "retention_ci95_high": retention + half if earlier else 1.0,
        "latency_ms_p50": sketch.latency_ms,
        "latency_ms_p90": sketch.latency_ms * 1.2,
        "latency_ms_mean": sketch.latency_ms * 1.05,
        "latency_ms_sd": sketch.latency_ms * 0.1,
        "latency_n": 200,
        "speedup": speedup,
        "speedup_ci95_low": speedup * 0.95,
        "speedup_ci95_high": speedup * 1.05,
        "throughput_per_s": 1400 / sketch.latency_ms,
        "throughput_batch": 8,
        "throughput_n": 5,
        "energy_j_per_1000": 10 * sketch.latency_ms,
        "energy_source": "estimate",
        "energy_watts_per_core": 5.0,
        "load_ms": 150.0,
        "peak_rss_bytes": 300_000_000 + 2 * sketch.weight_bytes,
        "verified": True,
        "verification": {"relative_l2_error": 0.01, "argmax_agreement": 0.998, "tolerance": 0.05, "n": 64},
        "weights_sha256": hashlib.sha256(sketch.variant_id.encode()).hexdigest(),
        "artifact": f"artifacts/{sketch.variant_id}",
        "receipt": f"receipts/{sketch.variant_id}.json" if quantized else None,
        "predictions": predictions_file,
    }
