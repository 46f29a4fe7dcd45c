"""Texts that quantizers look at: the task's training rows, a sample of C4, or the user's own file."""

from __future__ import annotations

import numpy as np

from dqf.data.outside import outside_fingerprint, outside_texts, without_reported
from dqf.data.tasks import Examples, Task
from dqf.sections import QuantizationConfig
from dqf.settings import Settings

SHORTEST_TOKENS = 2


def calibration_examples(config: QuantizationConfig, task: Task, settings: Settings) -> Examples:
    """Return the texts to calibrate on; rows that are reported are never among them.

    Raises:
        UserError: the source is not to be had, or holds no text.
    """
    if config.calibration == "training":
        pool = task.train
    else:
        found = outside_texts(config.calibration, settings)
        pool = without_reported(Examples(found.texts, None, found.labels), task)
    count = min(config.calibration_samples, len(pool))
    rows = np.random.default_rng(config.calibration_seed).permutation(len(pool))[:count]
    return pool.take([int(row) for row in rows])


def calibration_fingerprint(config: QuantizationConfig, settings: Settings) -> str:
    """Return the SHA-256 of an own calibration file; empty for sources that a config names for good."""
    return outside_fingerprint(config.calibration, settings)
