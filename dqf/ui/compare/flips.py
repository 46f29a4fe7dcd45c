"""Examples that two variants answer differently: what changed, counted and filtered; pure pandas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dqf.ui.compare.comparisons import Scored

LOST = "Right → wrong"
WON = "Wrong → right"
STILL_WRONG = "Both wrong"
FURTHER = "Further off"
CLOSER = "Closer"
KINDS_OF_CLASSES = (LOST, WON, STILL_WRONG)
KINDS_OF_NUMBERS = (FURTHER, CLOSER)


def is_classification(one: Scored) -> bool:
    """Tell whether predictions are classes rather than numbers."""
    return one.metric != "pearson_spearman"


def changed(first: Scored, second: Scored) -> pd.DataFrame:
    """Return the examples whose prediction differs, the largest change first.

    Args:
        first: predictions before.
        second: predictions after, on the same examples.

    Returns:
        Columns idx, kind, label, first, second (predictions), first_confidence, second_confidence, change
        (of the distance to the label for numbers; the two confidences added for classes, so that two
        firm answers that contradict each other come first).
    """
    different = first.predictions != second.predictions
    frame = pd.DataFrame(
        {
            "idx": first.idx,
            "label": first.labels,
            "first": first.predictions,
            "second": second.predictions,
            "first_confidence": first.confidence,
            "second_confidence": second.confidence,
        }
    )[different]
    if is_classification(first):
        was_right, is_right = frame["first"] == frame["label"], frame["second"] == frame["label"]
        kind = np.where(was_right, LOST, np.where(is_right, WON, STILL_WRONG))
        change = frame["first_confidence"] + frame["second_confidence"]
        order = -change
    else:
        change = (frame["second"] - frame["label"]).abs() - (frame["first"] - frame["label"]).abs()
        kind = np.where(change > 0, FURTHER, CLOSER)
        order = -change.abs()
    frame = frame.assign(kind=kind, change=change)
    return frame.iloc[np.argsort(order.to_numpy(), kind="stable")].reset_index(drop=True)


def named(values: pd.Series, names: Sequence[str]) -> pd.Series:
    """Return class numbers as the names of the classes, where these are known; other numbers with two digits."""
    if not names and pd.api.types.is_integer_dtype(values):
        return values.map(str)
    if not names:
        return values.map(lambda value: f"{value:.2f}")
    return values.map(lambda value: names[int(value)] if 0 <= int(value) < len(names) else str(value))


def with_texts(frame: pd.DataFrame, texts: pd.DataFrame | None) -> pd.DataFrame:
    """Return the examples with their texts, if there are any: columns text and pair."""
    if texts is None:
        return frame
    at = frame["idx"].to_numpy()
    return frame.assign(text=texts["text"].to_numpy()[at], pair=texts["pair"].to_numpy()[at])
