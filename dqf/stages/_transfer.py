"""What Student-KD learns from: the training rows, labelled or not, and altered copies of them that have no label."""

from __future__ import annotations

from typing import Any

import numpy as np

from dqf.data.augment import altered
from dqf.data.tasks import CLASSIFICATION, Examples, hide_labels, labelled_rows
from dqf.stages._context import Context

ALTERED_VERSION = 1
"""Of the way texts are altered; part of the keys of what is computed on them."""


def labelled(context: Context) -> list[int]:
    """Return the training rows whose labels the students may see."""
    task, config = context.task, context.config
    return labelled_rows(task.train, config.student.label_rows, config.task.seed, task.kind == CLASSIFICATION)


def transfer_set(context: Context) -> Examples:
    """Return the training rows, hidden labels marked (`hide_labels`), and after them their altered copies."""
    train, copies = context.task.train, context.config.distillation.altered_copies
    kept = Examples(train.texts, train.pairs, hide_labels(train, labelled(context)))
    if not copies:
        return kept
    more = altered(train, copies, context.config.task.seed)
    pairs = None if kept.pairs is None else kept.pairs + (more.pairs or ())
    return Examples(kept.texts + more.texts, pairs, np.concatenate([kept.labels, more.labels]))


def transfer_facts(context: Context) -> dict[str, Any]:
    """Return what decides the altered copies; empty without any, so that keys stay as they were before there were."""
    copies = context.config.distillation.altered_copies
    return {"altered": [copies, context.config.task.seed, ALTERED_VERSION]} if copies else {}
