"""Benchmark: time all variants of the run interleaved, one real example at a time."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dqf.artifacts import open_artifact
from dqf.data.tasks import REGRESSION
from dqf.runtimes._select import candidates
from dqf.serving.client import Served, ServingError, write_examples
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages.export import ARTIFACT, REFERENCE
from dqf.stages.verify import agreement

VERSION = 1
TIMES = "latency.parquet"
SHARED_TIMES = "latency_shared.parquet"
WARM_UP = 10


def time_variants(context: Context, variants: Mapping[str, tuple[Path, str]], stage: str = "benchmark") -> Output:
    """Return a folder with `latency.parquet`: one row per example, one column of ms per variant.

    Every variant has a process of its own; each example goes through all of them, in an order that
    rotates, before the next one, so that drift of the machine falls on all alike. Each timed pass
    follows an untimed one of the same example: it is steady-state latency, not that of a first call.

    Args:
        context: of the run.
        variants: artifact folder and runtime by variant id.
        stage: id of this stage.
    """
    names = list(variants)
    count = context.config.measurement.latency_samples

    def work(folder: Path) -> dict[str, Any]:
        rng = np.random.default_rng(context.config.seed)
        rows = rng.choice(len(context.task.evaluation), count, replace=count > len(context.task.evaluation))
        examples = context.task.evaluation.take(rows)
        write_examples(examples, folder / "examples.json")
        served: dict[str, Served] = {}
        times = {name: np.zeros(count) for name in names}
        try:
            for name, (artifact, runtime) in variants.items():
                served[name] = Served(
                    artifact, runtime, context.threads, context.device.type, folder / "serving.log", context.reporter
                )
                served[name].encode(folder / "examples.json")
            for one in served.values():
                for i in range(min(WARM_UP, count)):
                    one.time_ms(i)
            for i in range(count):
                shift = i % len(names)
                for name in names[shift:] + names[:shift]:
                    times[name][i] = served[name].time_ms(i)
                context.reporter.progress(i + 1, count)
        finally:
            for one in served.values():
                one.close()
        (folder / "examples.json").unlink()
        pd.DataFrame({"row": rows, **times}).to_parquet(folder / TIMES, index=False)
        return {"latency_n": count, "variants": len(names)}

    facts = {
        "run": context.run_dir.name,
        "samples": count,
        "variants": {k: list(map(str, v)) for k, v in variants.items()},
    }
    return context.cache.run(stage, version=VERSION, config=facts, inputs=(), work=work)


def faithful_in(context: Context, exports: Mapping[str, Output], runtime: str) -> dict[str, tuple[Path, str]]:
    """Return artifact folder and runtime of the variants that one runtime serves faithfully, by variant id.

    Those that it cannot load, or whose logits do not agree there, are left out and told about: their times
    would be those of another function.

    Args:
        context: of the run.
        exports: outputs of the export stage by variant id.
        runtime: registered name.
    """
    folder = context.run_dir / "shared-runtime"
    folder.mkdir(exist_ok=True)
    regression, device = context.task.kind == REGRESSION, context.device.type
    found = {}
    for name, export in exports.items():
        artifact, reference = export.folder / ARTIFACT, np.load(export.folder / REFERENCE)
        write_examples(context.task.evaluation.take(list(range(len(reference)))), folder / "probe.json")
        able = {entry.name for entry in candidates(open_artifact(artifact, check=False), device, "auto")}
        agrees = False
        if runtime in able:
            with (
                contextlib.suppress(ServingError),
                Served(artifact, runtime, context.threads, device, folder / "serving.log", context.reporter) as served,
            ):
                served.encode(folder / "probe.json")
                agrees = agreement(reference, served.logits(folder / "logits.npy"), regression)["faithful"]
        if agrees:
            found[name] = (artifact, runtime)
        else:
            context.reporter.message(f"{runtime} does not serve {name} faithfully: not timed there.")
    shutil.rmtree(folder)
    return found
