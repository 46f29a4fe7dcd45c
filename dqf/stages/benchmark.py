"""Benchmark: time all variants of the run in turns, single real examples and batches of 8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dqf.artifacts import open_artifact
from dqf.data.tasks import REGRESSION
from dqf.runtimes._select import candidates
from dqf.serving.client import Served, ServingError, write_examples
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages._turns import rotated, turns
from dqf.stages.export import ARTIFACT, REFERENCE, probe_rows
from dqf.stages.verify import faithful

VERSION = 4
VERSION_SHARED = 2
TIMES = "latency.parquet"
SHARED_TIMES = "latency_shared.parquet"
THROUGHPUT = "throughput.parquet"
WARM_UP = 50
"""Untimed examples of each variant before the first turn."""
BATCH = 8
FEWEST_REPEATS, SAMPLES_PER_REPEAT = 3, 33
"""Meant to add a quarter to the time of the stage at most, reckoned from single batches; one direct run added 49 %."""


@dataclass(frozen=True)
class Timed:
    """What is timed of a variant: its artifact's folder, the runtime, and which lengths have graphs of their own."""

    artifact: Path
    runtime: str
    lengths: tuple[int, ...] = ()


def time_variants(context: Context, variants: Mapping[str, Timed]) -> Output:
    """Return a folder with `latency.parquet` and `throughput.parquet`.

    The first has one row per example and one column of ms per variant, the second one row per variant and
    repeat: `variant_id`, `repeat`, `batch`, `passes` of it, and what they took: `ms`, `cpu_s`, `energy_j`,
    `energy_source`.

    Args:
        context: of the run.
        variants: what to time, by variant id.
    """
    facts = {
        "run": context.run_dir.name,
        "samples": context.config.measurement.latency_samples,
        "variants": {k: [str(v.artifact), v.runtime, *v.lengths] for k, v in variants.items()},
    }
    return context.cache.run(
        "benchmark", version=VERSION, config=facts, inputs=(), work=lambda folder: _time(context, variants, folder)
    )


def time_in_one_runtime(context: Context, exports: Mapping[str, Output]) -> Output:
    """Return a folder with `latency.parquet` of the variants that `measurement.shared_runtime` serves faithfully.

    One graph serves any length there: which lengths have their own would depend on how much memory weights take.
    Those variants that it cannot load, or whose logits do not agree there, are left out and told about: their times
    would be those of another function.

    Args:
        context: of the run.
        exports: outputs of the export stage by variant id.
    """
    runtime = context.shared_runtime

    def work(folder: Path) -> dict[str, Any]:
        faithful = {}
        for at, (name, export) in enumerate(exports.items()):
            context.reporter.progress(at, len(exports))
            if _serves(context, export, runtime, folder):
                faithful[name] = Timed(export.folder / ARTIFACT, runtime)
            else:
                context.reporter.message(f"{runtime} does not serve {name} faithfully: not timed there.")
        return _time(context, faithful, folder, batches=False)

    facts = {
        "run": context.run_dir.name,
        "samples": context.config.measurement.latency_samples,
        "runtime": runtime,
    }
    return context.cache.run(
        "benchmark-shared", version=VERSION_SHARED, config=facts, inputs=tuple(exports.values()), work=work
    )


def _serves(context: Context, export: Output, runtime: str, folder: Path) -> bool:
    """Tell whether a runtime was made for an artifact and gives the logits of the model in memory."""
    artifact, reference = export.folder / ARTIFACT, np.load(export.folder / REFERENCE)
    device = context.device.type
    if runtime not in {entry.name for entry in candidates(open_artifact(artifact, check=False), device, "auto")}:
        return False
    probe = folder / "probe.json"
    write_examples(context.task.evaluation.take(probe_rows(context.task)), probe)
    try:
        with Served(artifact, runtime, context.threads, device, folder / "serving.log", context.reporter) as served:
            served.encode(probe)
            logits = served.logits(folder / "logits.npy")
    except ServingError:
        return False
    finally:
        probe.unlink()
    return bool(faithful(reference, logits, context.task.kind == REGRESSION)["faithful"])


def _timed_rows(total: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which of so many examples are timed; where there are too few, all of them equally often but for one."""
    if count <= total:
        return rng.choice(total, count, replace=False)
    return np.concatenate([rng.permutation(total) for _ in range(-(-count // total))])[:count]


def _time(context: Context, variants: Mapping[str, Timed], folder: Path, batches: bool = True) -> dict[str, Any]:
    """Write `latency.parquet`, and `throughput.parquet` where asked for; return metrics.

    Every variant has a process of its own; the same twenty examples go through all of them, in an order that
    rotates, before the next twenty, so that drift of the machine falls on all alike. Each timed pass
    follows an untimed one of the same example: it is steady-state latency, not that of a first call.
    """
    names = list(variants)
    count = context.config.measurement.latency_samples
    rng = np.random.default_rng(context.config.seed)
    rows = _timed_rows(len(context.task.evaluation), count, rng)
    examples = context.task.evaluation.take(rows)
    write_examples(examples, folder / "examples.json")
    repeats = max(FEWEST_REPEATS, count // SAMPLES_PER_REPEAT) if batches else 0
    served: dict[str, Served] = {}
    times = {name: np.zeros(count) for name in names}
    try:
        for name, one in variants.items():
            served[name] = Served(
                one.artifact,
                one.runtime,
                context.threads,
                context.device.type,
                folder / "serving.log",
                context.reporter,
            )
            served[name].encode(folder / "examples.json")
            if one.lengths:
                served[name].fix_lengths(one.lengths)
        for process in served.values():
            for i in range(min(WARM_UP, count)):
                process.time_ms(i)
        for name, turn in turns(names, count):
            times[name][turn] = [served[name].time_ms(i) for i in turn]
            context.reporter.progress(turn.start, count + repeats)  # the others' passes are still to come
        measured = []
        for repeat in range(repeats):
            batch = [(repeat * BATCH + i) % count for i in range(BATCH)]
            for name in rotated(names, repeat):
                row = {"variant_id": name, "repeat": repeat, "batch": BATCH, **served[name].time_batch(batch)}
                measured.append(row)
            context.reporter.progress(count + repeat + 1, count + repeats)
    finally:
        for process in served.values():
            process.close()
    (folder / "examples.json").unlink()
    pd.DataFrame({"row": rows, **times}).to_parquet(folder / TIMES, index=False)
    if batches:
        frame = pd.DataFrame(measured).astype({"energy_j": float, "energy_source": "string"})
        frame.to_parquet(folder / THROUGHPUT, index=False)
    return {"latency_n": count, "variants": len(names), "throughput_n": repeats}
