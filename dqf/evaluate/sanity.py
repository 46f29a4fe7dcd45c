"""The sanity gate: figures that should not be believed before somebody has looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.evaluate.evidence import TEACHER, Evidence
from dqf.evaluate.macro import estimate_of, macro_average
from dqf.evaluate.metrics import metric

Array = NDArray[Any]
HALF_WAY = 0.5
"""A teacher that gets less than this share of the way from the majority baseline to the published score is weak."""
CLOSE = 0.05
"""A teacher that is further than this below the published score is worth a remark."""
ROUNDING = 0.005
"""Published scores are rounded: one no further than this above the majority baseline is no bound."""
SAME = 1e-9
"""Sums in another order differ by less."""


@dataclass(frozen=True)
class Flag:
    """One figure that looks wrong.

    Attributes:
        kind: `constant`, `far-below-published`, `below-published`, `beats-teacher`, or `known-fault`.
        system: for example `teacher` or `student-dqf@4`.
        value: its score.
        bound: what it was held against: a baseline, the lowest believable score, or the teacher's score.
        sentence: for people.
    """

    kind: str
    task: str
    system: str
    value: float
    bound: float
    sentence: str


def majority_score(metric_name: str, labels: Array) -> float:
    """Return the best score of a constant prediction on these labels.

    That is the share of the most frequent class for accuracy, F1 of "always positive", and 0 for correlations.
    """
    labels = np.asarray(labels)
    if len(labels) == 0:
        return 0.0
    constants = np.unique(labels)
    if metric_name == "pearson_spearman" or len(constants) > 1000:
        return 0.0
    return max(metric(metric_name)(labels, np.full(len(labels), one)) for one in constants)


def check_teacher(task: str, score: float, majority: float, published: float | None, note: str = "") -> list[Flag]:
    """Return what is suspicious about a teacher's score.

    Args:
        task: its name.
        score: the teacher's.
        majority: score of the best constant prediction on the same examples.
        published: score of a known model of its size, None where there is none to hold it against.
        note: what a reader must know, for example that the training set was reduced.
    """
    because = f" {note}" if note else ""
    if score <= majority + SAME:
        text = (
            f"The teacher of {task} scores {score:.3f}, no better than the {majority:.3f} of always giving one answer."
            f"{because}"
        )
        return [Flag("constant", task, TEACHER, score, majority, text)]
    if published is not None and published > majority + ROUNDING:
        least = majority + HALF_WAY * (published - majority)
        if score < least:
            text = (
                f"The teacher of {task} scores {score:.3f}, less than half of the way from the majority baseline "
                f"{majority:.3f} to the published {published:.3f}.{because}"
            )
            return [Flag("far-below-published", task, TEACHER, score, least, text)]
        if score < published - CLOSE:
            text = (
                f"The teacher of {task} scores {score:.3f}, {100 * (published - score):.1f} points below the published "
                f"{published:.3f}: what is kept of it is kept of less.{because}"
            )
            return [Flag("below-published", task, TEACHER, score, published - CLOSE, text)]
    return []


def check_students(evidence: Evidence) -> list[Flag]:
    """Return the variants that beat their teacher by more than noise allows.

    More than noise: the 95 % interval of variant - teacher, over examples and seeds, lies above 0. With
    many variants and tasks one in forty does so by chance; a flag asks to look, it is no verdict.
    """
    flags = []
    for task in evidence.tasks:
        macro = macro_average([evidence.scores[task]], resample_seeds=True)
        for name in macro.scores:
            if name == TEACHER:
                continue
            gain = estimate_of(partial(_gain, name=name), macro)
            flags += check_gain(task, name, (gain.value, gain.low, gain.high), macro.scores[TEACHER])
    return flags


def check_gain(task: str, name: str, gain: tuple[float, float, float], teacher: float) -> list[Flag]:
    """Return a flag if a variant is above its teacher by more than noise allows.

    Args:
        task: its name.
        name: of the variant.
        gain: variant's score minus teacher's, and the limits of its 95 % interval.
        teacher: the teacher's score.
    """
    value, low, high = gain
    if low <= 0:
        return []
    text = (
        f"{name} beats its teacher on {task} by {100 * value:.1f} points [{100 * low:.1f}, {100 * high:.1f}]: "
        "is the teacher weak, or do they differ in data?"
    )
    return [Flag("beats-teacher", task, name, teacher + value, teacher, text)]


def _gain(scores: Mapping[str, Any], name: str) -> Any:
    return scores[name] - scores[TEACHER]
