"""What the Playground says of answers: confidences, agreement, one sentence; pure numpy and pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dqf.data import catalog
from dqf.serving.manager import Answer
from dqf.ui import format as fmt

Array = NDArray[Any]
OTHER = "Other classes"
SHOWN_CLASSES = 7


@dataclass(frozen=True)
class Said:
    """One variant's answers to some texts.

    Attributes:
        variant_id: which variant of the run.
        name: as people read it.
        variant: its kind.
        logits: float (texts, outputs); one output means a number.
        answer: times and memory of the call, None for stored predictions.
    """

    variant_id: str
    name: str
    variant: str
    logits: Array
    answer: Answer | None = None

    @property
    def is_number(self) -> bool:
        """Whether it predicts a number instead of a class."""
        return bool(self.logits.shape[1] == 1)

    @property
    def probabilities(self) -> Array:
        """Softmax of the logits, float64 (texts, classes)."""
        shifted = np.exp(self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))

    @property
    def predictions(self) -> Array:
        """Class indices, or numbers."""
        return np.asarray(self.logits[:, 0] if self.is_number else self.logits.argmax(axis=1))

    @property
    def confidences(self) -> Array:
        """Probability of the answer; NaN for numbers."""
        return np.full(len(self.logits), np.nan) if self.is_number else self.probabilities.max(axis=1)

    def words(self, names: Sequence[str]) -> list[str]:
        """Return the answers as people read them."""
        return [name_of(value, () if self.is_number else names, self.is_number) for value in self.predictions]


def name_of(value: Any, names: Sequence[str], number: bool = False) -> str:
    """Return a class by its name, a number with two digits."""
    if number:
        return f"{float(value):.2f}".replace("-", "\u2212")
    at = int(value)
    return str(names[at]) if 0 <= at < len(names) else f"class {at}"


def teacher_of(said: Sequence[Said]) -> Said | None:
    """Return the teacher's answers, None if it was not asked."""
    return next((one for one in said if one.variant == "teacher"), None)


def agreement(one: Said, teacher: Said | None) -> Array | None:
    """Return where a variant answers as its teacher does, bool (texts,); None for numbers or without a teacher."""
    if teacher is None or one is teacher or one.is_number:
        return None
    return np.asarray(one.predictions == teacher.predictions)


def sentence(said: Sequence[Said], names: Sequence[str]) -> str:
    """Return in one sentence what the variants say to the one text that they were asked."""
    teacher = teacher_of(said)
    others = [one for one in said if one is not teacher]
    if said[0].is_number:
        return _sentence_of_numbers(teacher, others)
    if len(said) == 1:
        return f"{said[0].name} says {said[0].words(names)[0]} ({fmt.percent(said[0].confidences[0])})."
    answers = {one.words(names)[0] for one in said}
    if len(answers) == 1:
        confidences = [float(one.confidences[0]) for one in said]
        low, high = f"{100 * min(confidences):.0f}", f"{100 * max(confidences):.0f}"
        held = f"{low} %" if low == high else f"{low} to {high} %"
        return f"All {len(said)} say {answers.pop()}, with {held} confidence."
    if teacher is None:
        counts = pd.Series([one.words(names)[0] for one in said]).value_counts()
        return "They differ: " + ", ".join(f"{n} say{'s' * (n == 1)} {word}" for word, n in counts.items()) + "."
    same = [one for one in others if one.predictions[0] == teacher.predictions[0]]
    rest = [one for one in others if one.predictions[0] != teacher.predictions[0]]
    listed = ", ".join(f"{one.name} says {one.words(names)[0]} ({fmt.percent(one.confidences[0], 0)})" for one in rest)
    agree = f"{len(same)} of {len(others)} others agree, but " if same else ""
    return f"The teacher says {teacher.words(names)[0]} ({fmt.percent(teacher.confidences[0], 0)}); {agree}{listed}."


def _sentence_of_numbers(teacher: Said | None, others: Sequence[Said]) -> str:
    values = [float(one.predictions[0]) for one in others]
    spread = ""
    if values:
        low, high = min(values), max(values)
        spread = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
    if teacher is None:
        return f"The variants give {spread}."
    own = float(teacher.predictions[0])
    if not values:
        return f"The teacher gives {own:.2f}."
    return f"The teacher gives {own:.2f}; the others {spread}, at most {max(abs(v - own) for v in values):.2f} off."


def table(said: Sequence[Said], names: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per variant for one text.

    Args:
        said: the answers.
        names: of the classes.
        rows: what was recorded of each variant, by variant_id.
    """
    teacher = teacher_of(said)
    lines = []
    for one in said:
        same = agreement(one, teacher)
        line: dict[str, Any] = {"Variant": one.name, "Prediction": one.words(names)[0]}
        if not one.is_number:
            line["Confidence (%)"] = 100 * float(one.confidences[0])
            line["As the teacher"] = fmt.UNKNOWN if same is None else ("✓ yes" if same[0] else "✕ no")
        elif teacher is not None:
            line["Off the teacher"] = float(one.predictions[0] - teacher.predictions[0])
        if one.answer is not None:
            line["This call (ms)"] = one.answer.encode_ms + one.answer.forward_ms
            line["Repeated (ms)"] = float(np.median(one.answer.repeat_ms)) if one.answer.repeat_ms else np.nan
        line["Recorded p50 (ms)"] = rows[one.variant_id]["latency_ms_p50"]
        if one.answer is not None:
            line["Memory now (MB)"] = one.answer.rss_bytes / 1e6
        else:
            line["Recorded memory (MB)"] = float(rows[one.variant_id]["peak_rss_bytes"]) / 1e6
        lines.append(line)
    return pd.DataFrame(lines)


def top_classes(said: Sequence[Said], most: int = SHOWN_CLASSES) -> list[int]:
    """Return the classes worth a color of their own for one text, in the task's order."""
    probabilities = np.stack([one.probabilities[0] for one in said])
    classes = probabilities.shape[1]
    if classes <= most + 1:
        return list(range(classes))
    return sorted(int(at) for at in np.argsort(-probabilities.max(axis=0), kind="stable")[:most])


def many(said: Sequence[Said], names: Sequence[str], texts: Sequence[str], pairs: Sequence[str] | None) -> pd.DataFrame:
    """Return one row per text with every variant's answer, and whether all agree."""
    frame = pd.DataFrame({"Text": list(texts)})
    if pairs is not None:
        frame["Second text"] = list(pairs)
    if len(said) > 1 and not said[0].is_number:
        predictions = np.stack([one.predictions for one in said])
        frame["All agree"] = (predictions == predictions[0]).all(axis=0)
    for one in said:
        frame[one.name] = one.predictions if one.is_number else one.words(names)
        if not one.is_number:
            frame[f"{one.name}, confidence"] = one.confidences
    return frame


def summary(said: Sequence[Said], seconds: Mapping[str, float]) -> pd.DataFrame:
    """Return one row per variant for many texts.

    Args:
        said: the answers.
        seconds: that each variant computed, by variant_id.
    """
    teacher = teacher_of(said)
    lines = []
    for one in said:
        line: dict[str, Any] = {"Variant": one.name}
        same = agreement(one, teacher)
        if teacher is not None and one.is_number:
            line["Mean distance to the teacher"] = float(np.abs(one.predictions - teacher.predictions).mean())
        elif teacher is not None:
            line["As the teacher (%)"] = np.nan if same is None else 100 * float(same.mean())
        if not one.is_number:
            line["Mean confidence (%)"] = 100 * float(one.confidences.mean())
        line["Texts per second"] = len(one.logits) / seconds[one.variant_id]
        line["n"] = len(one.logits)
        lines.append(line)
    return pd.DataFrame(lines)


def takes_pairs(config: Mapping[str, Any]) -> bool:
    """Tell from a run's config whether its task has two texts per example."""
    task = config.get("task")
    if not isinstance(task, Mapping):
        return False
    return catalog.takes_pairs(str(task.get("source", "")), str(task.get("text_pair_column") or ""))


def disagreeing(predictions: Sequence[Array]) -> list[int]:
    """Return the examples that not all answer alike, by their place."""
    if len(predictions) < 2:
        return []
    stacked = np.stack(list(predictions))
    return [int(at) for at in np.flatnonzero((stacked != stacked[0]).any(axis=0))]
