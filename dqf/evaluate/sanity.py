"""The sanity gate: figures that should not be believed before somebody has looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

from dqf.evaluate.evidence import TEACHER, Evidence
from dqf.evaluate.macro import estimate_of, macro_average
from dqf.evaluate.metrics import beats_constant, majority_score

HALF_WAY = 0.5
"""A teacher that gets less than this share of the way from the majority baseline to the published score is weak."""
CLOSE = 0.05
"""A teacher that is further than this below the published score is worth a remark."""
FEWEST_TIMED = 200
ROUNDING = 0.005
"""Published scores are rounded: one no further than this above the majority baseline is no bound."""


@dataclass(frozen=True)
class Flag:
    """One figure that looks wrong.

    Attributes:
        kind: `constant`, `far-below-published`, `below-published`, `beats-teacher`, `below-constant`, `few-timings`, or
            `known-fault`.
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
    if not beats_constant(score, majority):
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
    """Return the variants that beat their teacher by more than noise allows, or do worse than one answer to all.

    More than noise: the 95 % interval, over examples and seeds, of variant - teacher lies above 0, or that of the
    variant's score below the constant's. With many variants and tasks one in forty does so by chance; a flag asks to
    look, it is no verdict.
    """
    flags = []
    for task in evidence.tasks:
        macro = macro_average([evidence.scores[task]], resample_seeds=True)
        majority = majority_score(evidence.metrics[task], evidence.labels[task])
        for name in macro.scores:
            if name == TEACHER:
                continue
            gain = estimate_of(partial(_gain, name=name), macro)
            flags += check_gain(task, name, (gain.value, gain.low, gain.high), macro.scores[TEACHER])
            score = estimate_of(itemgetter(name), macro)
            flags += check_above_constant(task, name, (score.value, score.low, score.high), majority)
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


def check_above_constant(task: str, name: str, score: tuple[float, float, float], majority: float) -> list[Flag]:
    """Return a flag if a variant scores less than one answer to all would, by more than noise allows.

    Args:
        task: its name.
        name: of the variant.
        score: the variant's, and the limits of its 95 % interval.
        majority: score of the best constant prediction on the same examples.
    """
    value, low, high = score
    if high >= majority:
        return []
    text = (
        f"{name} scores {100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}] on {task}, less than the "
        f"{100 * majority:.1f} of always giving one answer: a lead over it there says little."
    )
    return [Flag("below-constant", task, name, value, majority, text)]


def check_timings(task: str, examples: int) -> list[Flag]:
    """Return a flag if latencies stand on fewer different examples than it takes to speak of their p90.

    Args:
        task: its name.
        examples: that were timed.
    """
    if examples >= FEWEST_TIMED:
        return []
    text = (
        f"Latencies on {task} stand on {examples} different examples, fewer than {FEWEST_TIMED}: their p90 and "
        "intervals say little."
    )
    return [Flag("few-timings", task, TEACHER, examples, FEWEST_TIMED, text)]


def _gain(scores: Mapping[str, Any], name: str) -> Any:
    return scores[name] - scores[TEACHER]
