"""Texts that quantizers look at: the task's training rows, a sample of C4, or the user's own file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dqf.data.encode import Encoded, Encoder
from dqf.data.outside import C4, NO_C4, local_c4, outside_fingerprint, outside_texts, without_reported
from dqf.data.tasks import Examples, Task
from dqf.environment import hub_is_offline
from dqf.errors import UserError
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


def encoded_calibration(
    config: QuantizationConfig, task: Task, settings: Settings, tokenizer_json: Path, max_length: int
) -> Encoded:
    """Return the token ids of calibration texts, of `max_length` tokens at most.

    Raises:
        UserError: there is no text, or none is long enough.
    """
    encoded = Encoder(tokenizer_json, max_length)(calibration_examples(config, task, settings))
    longest = max(len(ids) for ids in encoded.ids)
    if longest < SHORTEST_TOKENS:
        raise UserError(
            f"a calibration sample must have at least {SHORTEST_TOKENS} tokens: the longest of "
            f"{len(encoded)} has {longest}; use longer texts."
        )
    return encoded


def check_calibration(
    config: QuantizationConfig, task: Task, settings: Settings, tokenizer_json: Path | None, max_length: int
) -> None:
    """Look at the texts before anything is trained, as far as that needs no network.

    Args:
        config: source, number and length of the texts.
        task: whose reported rows are left out.
        settings: data folders.
        tokenizer_json: the student's; None where it is known only once the model is fetched.
        max_length: of a text, in tokens.

    Raises:
        UserError: there is no text, none is long enough, or C4 is neither here nor to be had.
    """
    if config.calibration == C4:  # may be large, and its texts are long: that it is to be had is enough
        if local_c4(settings) is None and hub_is_offline():
            raise UserError(NO_C4.format("HF_HUB_OFFLINE is set"))
        return
    texts = calibration_examples(config, task, settings).texts
    # Every look at the form comes here: reading a tokenizer takes ten times as long as all other checks together.
    if tokenizer_json is not None and all(len(text.split()) < SHORTEST_TOKENS for text in texts):
        encoded_calibration(config, task, settings, tokenizer_json, max_length)


def calibration_fingerprint(config: QuantizationConfig, settings: Settings) -> str:
    """Return what tells the content of the calibration texts' source, empty for the training rows and for the hub."""
    return outside_fingerprint(config.calibration, settings)
