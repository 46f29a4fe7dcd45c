"""Runs of tiny models in this process, and what their results are compared by."""

import numpy as np
import pandas as pd

from dqf.config import RunConfig
from dqf.errors import Cancelled
from dqf.jobs.protocol import create_run, read_json
from dqf.jobs.worker import run_in_process
from dqf.progress import SilentReporter
from tests.support.tiny import tiny_config


def launch(settings, root, **changes):
    """Run a tiny config in this process and return run directory and result."""
    config = RunConfig.from_dict(tiny_config(root, **changes))
    run_dir = create_run(settings.runs_dir, config.to_dict(), "tiny")
    run_in_process(run_dir, settings)
    result = read_json(run_dir / "result.json")
    assert result is not None, (run_dir / "events.jsonl").read_text()[-2000:]
    return run_dir, result


def caches(result):
    return {stage["id"]: stage["cache"] for stage in result["stages"]}


def hashes(result):
    return {row["variant_id"]: row["weights_sha256"] for row in result["variants"]}


def same_predictions(one, other, result):
    for row in result["variants"]:
        left, right = (pd.read_parquet(run / row["predictions"]) for run in (one, other))
        assert left["prediction"].equals(right["prediction"]), row["variant_id"]
        assert np.array_equal(np.stack(left["logits"]), np.stack(right["logits"])), row["variant_id"]


class StopsAt(SilentReporter):
    """Stops a training at a step, as a user who cancels does, or by another error."""

    def __init__(self, step, error=Cancelled):
        self.step = step
        self.error = error

    def progress(self, step, total, metrics=None):
        if step == self.step:
            raise self.error


class Said(SilentReporter):
    """Keeps the messages."""

    def __init__(self):
        self.texts = []

    def message(self, text):
        self.texts.append(text)
