"""A task: texts, labels and what they mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.errors import UserError

UNLABELLED = -100
"""Class number of a row whose label is hidden; a regression target that is not a number says the same."""
CLASSIFICATION = "classification"
REGRESSION = "regression"
MINIMUM_ROWS = 20


@dataclass(frozen=True)
class Examples:
    """Texts with their labels.

    Attributes:
        texts: first texts.
        pairs: second texts, None for single texts.
        labels: int64 class numbers, or float64 targets for regression.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Examples:
        """Return the given rows, in that order."""
        return Examples(
            tuple(self.texts[i] for i in rows),
            None if self.pairs is None else tuple(self.pairs[i] for i in rows),
            self.labels[np.asarray(rows, dtype=np.int64)],
        )


@dataclass(frozen=True)
class Task:
    """What to learn and how it is scored.

    Attributes:
        name: short name, for example `sst2`.
        kind: `classification` or `regression`.
        labels: class names in label order; empty for regression.
        metric: primary metric, as `dqf.evaluate.metrics` names it.
        train: rows to learn from.
        evaluation: rows whose score is reported; never used for any choice.
        note: what a reader of its figures must know.
        extra: further reported rows by name, scored beside the evaluation rows and no part of the score.
        published: a known model's score on these very rows, None where there is none.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    metric: str
    train: Examples
    evaluation: Examples
    note: str = ""
    extra: Mapping[str, Examples] = field(default_factory=dict)
    published: float | None = None

    @property
    def outputs(self) -> int:
        """Width of the model's output: classes, or 1 for regression."""
        return max(len(self.labels), 1)

    def fingerprint(self) -> str:
        """Return the SHA-256 of everything a model can learn from or its score comes from."""
        return _digest(f"{self.kind}|{self.labels}|{self.metric}", (self.train, self.evaluation))

    def extra_fingerprints(self) -> dict[str, str]:
        """Return the SHA-256 of each extra part; apart from the task's, so that no training depends on them."""
        return {name: _digest(name, (part,)) for name, part in self.extra.items()}


def _digest(head: str, parts: Sequence[Examples]) -> str:
    digest = hashlib.sha256(head.encode())
    for part in parts:
        for texts in (part.texts, part.pairs or ()):
            for text in texts:
                digest.update(text.encode())
                digest.update(b"\0")
        digest.update(np.ascontiguousarray(part.labels).tobytes())
    return digest.hexdigest()


def split_rows(labels: NDArray[Any], held_out: float, stratify: bool, seed: int) -> tuple[list[int], list[int]]:
    """Split rows at random into kept and held-out ones, class by class if `stratify`.

    Args:
        labels: one per row.
        held_out: share of rows to hold out.
        stratify: keep the share within each class.
        seed: of the shuffling.

    Returns:
        Sorted row numbers kept, sorted row numbers held out.
    """
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)] if stratify else [np.arange(len(labels))]
    held: list[int] = []
    for group in groups:
        shuffled = rng.permutation(group)
        held.extend(int(i) for i in shuffled[: round(len(group) * held_out)])
    chosen = set(held)
    return [i for i in range(len(labels)) if i not in chosen], sorted(held)


def labelled_rows(examples: Examples, count: int, seed: int, stratify: bool) -> list[int]:
    """Return the sorted numbers of `count` random rows (0 for all); fewer rows are always among more.

    Args:
        examples: to choose from.
        count: rows wanted.
        seed: of the choice.
        stratify: keep every class in proportion.
    """
    if not count or count >= len(examples):
        return list(range(len(examples)))
    labels = examples.labels if stratify else np.zeros(len(examples))
    shuffled = np.random.default_rng(seed).permutation(len(examples))
    place = np.empty(len(examples))
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return sorted(int(i) for i in shuffled[np.argsort(place[shuffled], kind="stable")][:count])


def joined(parts: Sequence[Examples]) -> Examples:
    """Return all rows of examples of one form, one part after the other."""
    pairs = None if parts[0].pairs is None else tuple(text for part in parts for text in part.pairs or ())
    texts = tuple(text for part in parts for text in part.texts)
    return Examples(texts, pairs, np.concatenate([part.labels for part in parts]))


def hide_labels(examples: Examples, kept: Sequence[int]) -> NDArray[Any]:
    """Return the labels of the `kept` rows, `UNLABELLED` or, for regression, NaN elsewhere."""
    hidden = np.full_like(examples.labels, np.nan if examples.labels.dtype.kind == "f" else UNLABELLED)
    hidden[list(kept)] = examples.labels[list(kept)]
    return hidden


def limit_rows(examples: Examples, at_most: int, seed: int, stratify: bool) -> Examples:
    """Return at most `at_most` random rows (0 for all), every class kept in proportion."""
    if not at_most or at_most >= len(examples):
        return examples
    _, rows = split_rows(examples.labels, at_most / len(examples), stratify, seed)
    if (
        len(rows) != at_most
    ):  # with many classes, rounding for each gives another number; else rows stay those of always
        rows = labelled_rows(examples, at_most, seed, stratify)
    return examples.take(rows)


def tuning_task(task: Task, seed: int) -> Task:
    """Return the task with a fifth of its training rows in place of the reported evaluation rows."""
    kept, held = split_rows(task.train.labels, 0.2, task.kind == CLASSIFICATION, seed)
    note = "Tuning split: scored on held-out training rows, not on the reported evaluation rows."
    held_out = task.train.take(held)
    return replace(task, train=task.train.take(kept), evaluation=held_out, note=note, extra={}, published=None)


def check_task(task: Task) -> Task:
    """Return the task if it can be learnt and scored.

    Raises:
        UserError: too few rows, or a class missing.
    """
    for name, part in (("training", task.train), ("evaluation", task.evaluation)):
        if len(part) < MINIMUM_ROWS:
            raise UserError(
                f"a task needs at least {MINIMUM_ROWS} {name} rows: {task.name} has {len(part)}; give it more data."
            )
        if len(np.unique(part.labels)) < 2:
            raise UserError(
                f"the {name} labels must hold at least 2 different values: {task.name} has one "
                f"({_label_name(task, part.labels[0])}); choose another label column or more rows."
            )
    return task


def _label_name(task: Task, label: Any) -> str:
    return task.labels[int(label)] if task.kind == CLASSIFICATION else f"{float(label):g}"
