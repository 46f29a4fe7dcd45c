"""Benchmark: time all variants of the run interleaved, one real example at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dqf.serving.client import Served, write_examples
from dqf.stages._cache import Output
from dqf.stages._context import Context

VERSION = 1
TIMES = "latency.parquet"
WARM_UP = 10


def time_variants(context: Context, variants: Mapping[str, tuple[Path, str]]) -> Output:
    """Return a folder with `latency.parquet`: one row per example, one column of ms per variant.

    Every variant has a process of its own; each example goes through all of them, in an order that
    rotates, before the next one, so that drift of the machine falls on all alike. Each timed pass
    follows an untimed one of the same example: it is steady-state latency, not that of a first call.

    Args:
        context: of the run.
        variants: artifact folder and runtime by variant id.
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
    return context.cache.run("benchmark", version=VERSION, config=facts, inputs=(), work=work)
