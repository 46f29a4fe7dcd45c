"""What Student-KD learns from: the training rows, labelled or not, and texts without a label.

Those are altered copies of the training rows, and texts from elsewhere; the teacher scores all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Part:
    """Some of what Student-KD learns from, of one origin.

    Attributes:
        name: of the origin; empty for the training rows.
        facts: what decides the texts besides the task; part of keys.
        examples: makes them.
    """

    name: str
    facts: dict[str, Any]
    examples: Callable[[], Examples]


def transfer_parts(context: Context) -> list[Part]:
    """Return the training rows, hidden labels marked (`hide_labels`), after them copies, then texts from elsewhere."""
    config, train, seed = context.config.distillation, context.task.train, context.config.task.seed
    parts = [Part("", {}, lambda: Examples(train.texts, train.pairs, hide_labels(train, labelled(context))))]
    if config.altered_copies:
        facts: dict[str, Any] = {"altered": [config.altered_copies, seed, ALTERED_VERSION]}
        parts.append(Part("altered", facts, lambda: altered(train, config.altered_copies, seed)))
    if config.transfer != "none":
        found = outside_fingerprint(config.transfer, context.settings)
        facts = {"outside": [found or config.transfer, config.transfer_rows, seed, OUTSIDE_VERSION]}
        parts.append(Part("outside", facts, lambda: transfer_texts(config, context.task, seed, context.settings)))
    return parts


def transfer_set(context: Context) -> Examples:
    """Return the rows of all parts, one part after the other."""
    return joined([part.examples() for part in transfer_parts(context)])


def transfer_facts(context: Context) -> dict[str, Any]:
    """Return what decides the texts without a label; empty without any, so that keys stay as they were before."""
    return {name: fact for part in transfer_parts(context) for name, fact in part.facts.items()}
