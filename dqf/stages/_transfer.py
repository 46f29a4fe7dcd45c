"""What Student-KD learns from: the training rows, labelled or not, and texts without a label.

Those are altered copies of the training rows, and texts from elsewhere; the teacher scores all of them.
"""

from __future__ import annotations

from typing import Any

from dqf.data.augment import altered
from dqf.data.outside import outside_fingerprint
from dqf.data.tasks import CLASSIFICATION, Examples, hide_labels, joined, labelled_rows
from dqf.data.transfer import transfer_texts
from dqf.stages._context import Context

ALTERED_VERSION, OUTSIDE_VERSION = 1, 1
"""Of the way texts are altered, or drawn from elsewhere; part of the keys of what is computed on them."""


def labelled(context: Context) -> list[int]:
    """Return the training rows whose labels the students may see."""
    task, config = context.task, context.config
    return labelled_rows(task.train, config.student.label_rows, config.task.seed, task.kind == CLASSIFICATION)


def transfer_set(context: Context) -> Examples:
    """Return the training rows, hidden labels marked (`hide_labels`), after them copies, then texts from elsewhere."""
    config, train = context.config, context.task.train
    parts = [Examples(train.texts, train.pairs, hide_labels(train, labelled(context)))]
    if config.distillation.altered_copies:
        parts.append(altered(train, config.distillation.altered_copies, config.task.seed))
    if config.distillation.transfer != "none":
        parts.append(transfer_texts(config.distillation, context.task, config.task.seed, context.settings))
    return joined(parts)


def transfer_facts(context: Context) -> dict[str, Any]:
    """Return what decides the texts without a label; empty without any, so that keys stay as they were before."""
    config, seed = context.config.distillation, context.config.task.seed
    facts: dict[str, Any] = {}
    if config.altered_copies:
        facts["altered"] = [config.altered_copies, seed, ALTERED_VERSION]
    if config.transfer != "none":
        found = outside_fingerprint(config.transfer, context.settings)
        facts["outside"] = [found or config.transfer, config.transfer_rows, seed, OUTSIDE_VERSION]
    return facts
