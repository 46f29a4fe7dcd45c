"""Evaluate: predict every reported row through the reloaded artifact, in a fresh process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dqf.artifacts import Artifact, open_artifact
from dqf.data.tasks import REGRESSION, Examples
from dqf.serving.client import Served, ServingEnded, write_examples
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages._fixed_lengths import fit_lengths
from dqf.stages.export import ARTIFACT, REFERENCE, probe_rows
from dqf.stages.verify import TRIES, faithful

VERSION = 6
PREDICTIONS = "predictions.parquet"
CHUNK_ROWS = 512


def evaluate_artifact(context: Context, export: Output, runtime: str, stage: str) -> Output:
    """Return a folder with `predictions.parquet` (idx, label, prediction, logits); each extra part has a file too.

    The process loads the artifact by the chosen runtime alone, so its peak memory is what serving this variant takes,
    without and with the graphs of fixed length that it may have (`fixed_lengths.json`). `verified` in the metrics says
    that its logits agreed once more.
    """

    def serve_once(
        folder: Path, artifact: Artifact, reference: NDArray[Any], last_try: bool
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        device, log = context.device.type, folder / "serving.log"
        with Served(artifact.folder, runtime, context.threads, device, log, context.reporter) as served:
            for name, part in context.task.extra.items():
                _predict(context, served, part, folder / extra_predictions(name))
            tokens, logits = _predict(context, served, context.task.evaluation, folder / PREDICTIONS)
            stats = served.ask(do="stats")
            stats["with_graphs"] = stats["peak_rss_bytes"]
            if fit_lengths(context, served, artifact, tokens, reference, folder, last_try):
                stats["with_graphs"] = served.ask(do="stats")["peak_rss_bytes"]
        return logits, stats

    def work(folder: Path) -> dict[str, Any]:
        artifact = open_artifact(export.folder / ARTIFACT)
        reference = np.load(export.folder / REFERENCE)
        for tries_left in reversed(range(TRIES)):
            try:
                logits, stats = serve_once(folder, artifact, reference, last_try=not tries_left)
                break
            except ServingEnded:
                context.reporter.check_cancelled()  # who cancels may end the process, too
                if not tries_left:
                    raise
        checked = faithful(reference, logits[probe_rows(context.task)], context.task.kind == REGRESSION)
        return {
            "load_ms": stats["load_ms"],
            "peak_rss_bytes": stats["peak_rss_bytes"],
            "peak_rss_bytes_with_graphs": stats["with_graphs"],
            "verified": int(checked["faithful"]),
            "relative_l2_error": checked["relative_l2_error"],
            "argmax_agreement": checked["argmax_agreement"],
        }

    facts = {
        "runtime": runtime,
        "fixed_length_mb": context.config.measurement.fixed_length_mb,
        **context.serving_facts(),
    }
    if context.task.extra:
        facts["extra"] = context.task.extra_fingerprints()
    return context.cache.run(stage, version=VERSION, config=facts, inputs=(export,), work=work)


def extra_predictions(name: str) -> str:
    """Return the file of an extra part's predictions."""
    return f"predictions-{name}.parquet"


def _predict(context: Context, served: Served, examples: Examples, out: Path) -> tuple[list[int], NDArray[np.float32]]:
    """Write the predictions of examples; return how many tokens each has, and the logits."""
    texts = out.with_suffix(".json")
    write_examples(examples, texts)
    tokens = served.encode(texts)
    texts.unlink()
    parts = []
    for start in range(0, len(examples), CHUNK_ROWS):
        rows = list(range(start, min(start + CHUNK_ROWS, len(examples))))
        parts.append(served.logits(out.with_suffix(".npy"), rows))
        context.reporter.progress(rows[-1] + 1, len(examples))
    logits = np.concatenate(parts)
    regression = context.task.kind == REGRESSION
    frame = pd.DataFrame(
        {
            "idx": np.arange(len(examples)),
            "label": examples.labels,
            "prediction": logits[:, 0].astype(np.float64) if regression else logits.argmax(1).astype(np.int64),
            "logits": list(logits),
        }
    )
    frame.to_parquet(out, index=False)
    return tokens, logits
