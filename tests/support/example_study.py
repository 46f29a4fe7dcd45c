"""Frames of a made-up study with known truth: what is right, how big and how fast each variant is."""

from __future__ import annotations

import functools
import zlib

import numpy as np
import pandas as pd

from dqf.data.catalog import short_name
from dqf.jobs import protocol
from tests.support.example_runs import _result, _write_predictions

SHARES = {
    ("teacher", "16"): 0.90,
    ("student-ft", "16"): 0.85,
    ("student-kd", "16"): 0.86,
    ("student-ptq", "4"): 0.80,
    ("student-dqf", "4"): 0.85,
}
SIZES = {"teacher": 269e6, "student-ft": 45.4e6, "student-kd": 45.4e6, "student-ptq": 13.3e6, "student-dqf": 13.3e6}
RUNTIMES = {name: "openvino-w8a8" if name in ("student-ptq", "student-dqf") else "openvino-bf16" for name in SIZES}
MS = {"teacher": 15.0, "student-ft": 2.2, "student-kd": 2.2, "student-ptq": 1.5, "student-dqf": 1.5}


def study_frames(
    shares=None,
    tasks=("a", "b"),
    seeds=(0, 1, 2),
    n=400,
    sizes=SIZES,
    ms=MS,
    sessions=("fastest", "shared"),
    rng_seed=0,
    runtimes=RUNTIMES,
):
    """Return variants, predictions and latency as `dqf.evaluate.evidence` describes them.

    Every example has a difficulty that all variants share, so their errors overlap as real ones do.
    """
    shares = shares or SHARES
    rng = np.random.default_rng(rng_seed)
    variants, predictions, latency = [], [], []
    for task in tasks:
        labels, difficulty = rng.integers(0, 2, n), rng.random(n)
        for seed in seeds:
            drift = {session: rng.lognormal(0, 0.2, 60) for session in sessions}
            for (variant, bits), share in shares.items():
                key = {"task": task, "seed": seed, "variant": variant, "bits": bits}
                variants.append(
                    {**key, "metric": "accuracy", "size_bytes": sizes[variant], "runtime": runtimes[variant]}
                )
                for session in sessions:
                    times = ms[variant] * drift[session] * rng.lognormal(0, 0.03, 60)
                    latency.append(pd.DataFrame({**key, "session": session, "row": np.arange(60), "ms": times}))
                if variant == "teacher" and seed != seeds[0]:
                    continue
                right = 0.8 * difficulty + 0.2 * rng.random(n) < _threshold(share)
                predicted = np.where(right, labels, 1 - labels)
                predictions.append(pd.DataFrame({**key, "idx": np.arange(n), "label": labels, "prediction": predicted}))
    empty = pd.DataFrame(columns=["task", "seed", "variant", "bits", "session", "row", "ms"])
    return pd.DataFrame(variants), pd.concat(predictions), pd.concat(latency) if latency else empty


@functools.cache
def _threshold(share):
    """Return the threshold below which `share` of 0.8 U + 0.2 V lies (U, V uniform)."""
    draws = np.random.default_rng(0).random((2, 200_000))
    return float(np.quantile(0.8 * draws[0] + 0.2 * draws[1], share))


ERRORS = {"teacher": 0.1, "student-ft": 0.15, "student-kd": 0.14, "student-ptq": 0.2, "student-dqf": 0.16}


def finish_run(run_dir, config, n=120, errors=ERRORS, teacher_seed=0):
    """Write into a queued run what a finished one leaves; tasks have the same examples for every seed.

    Variants err on `errors` of the examples (in class, or by that much times 5 in number), by chance.
    """
    task = short_name(config.task.source)
    result = _result(run_dir, config, task, n, 1.8e9)
    rng = np.random.default_rng(zlib.crc32(task.encode()))
    classes = len(result["task"]["labels"])
    truth = rng.integers(0, classes, n) if classes else rng.uniform(0, 5, n).round(1)
    sessions = {"latency.parquet": {"row": np.arange(40)}, "latency_shared.parquet": {"row": np.arange(40)}}
    for variant in result["variants"]:
        name = variant["variant"]
        own = (teacher_seed, 0) if name == "teacher" else (config.seed, zlib.crc32(variant["variant_id"].encode()))
        rng = np.random.default_rng((zlib.crc32(task.encode()), *own))
        _write_predictions(run_dir / variant["predictions"], truth, classes, errors[name], rng)
        for times in sessions.values():
            times[variant["variant_id"]] = MS[name] * rng.lognormal(0, 0.05, 40)
        variant["shared"] = {"runtime": "openvino-fp32"}
    for file, columns in sessions.items():
        pd.DataFrame(columns).to_parquet(run_dir / file, index=False)
    protocol.write_json(run_dir / "result.json", result)
