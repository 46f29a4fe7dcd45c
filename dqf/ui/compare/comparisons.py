"""Paired tests between variants that were scored on the same examples; pure pandas and numpy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dqf.evaluate.metrics import metric
from dqf.evaluate.statistics import (
    MacroResamples,
    TaskResamples,
    cohens_g,
    difference_of,
    holm,
    macro_average,
    mcnemar_exact,
    resample_task,
)

Array = NDArray[Any]
ALPHA = 0.05
MCNEMAR = "McNemar, exact"
BOOTSTRAP = "Paired bootstrap"


@dataclass(frozen=True)
class Scored:
    """The predictions of one variant.

    Attributes:
        key: `run_id/variant_id`.
        task: what it was scored on.
        metric: the task's primary one.
        idx, labels, predictions, confidence: (n,) by example; confidence NaN where there is none.
    """

    key: str
    task: str
    metric: str
    idx: Array
    labels: Array
    predictions: Array
    confidence: Array


def from_frame(key: str, task: str, metric_name: str, frame: pd.DataFrame) -> Scored:
    """Return predictions as `dqf.store.queries.predictions` gives them, with confidences from the logits."""
    logits = np.stack([np.asarray(row, np.float64) for row in frame["logits"]]) if len(frame) else np.zeros((0, 1))
    confidence = np.full(len(frame), np.nan)
    if logits.shape[1] > 1:
        confidence = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    return Scored(
        key,
        task,
        metric_name,
        frame["idx"].to_numpy(),
        frame["label"].to_numpy(),
        frame["prediction"].to_numpy(),
        confidence,
    )


def comparable(first: Scored, second: Scored) -> bool:
    """Tell whether two variants were scored on the same examples: task, rows and all labels agree."""
    return (
        first.task == second.task
        and first.metric == second.metric
        and np.array_equal(first.idx, second.idx)
        and np.array_equal(first.labels, second.labels)
    )


def groups(scored: Sequence[Scored]) -> list[list[Scored]]:
    """Return the variants by the examples they were scored on, in the order given."""
    found: list[list[Scored]] = []
    for one in scored:
        for group in found:
            if comparable(group[0], one):
                group.append(one)
                break
        else:
            found.append([one])
    return found


def resample(group: Sequence[Scored], n_resamples: int = 2000) -> TaskResamples:
    """Return scores and resampled scores of variants with the same examples, by key."""
    first = group[0]
    return resample_task(
        metric(first.metric), first.labels, {one.key: one.predictions for one in group}, n_resamples=n_resamples
    )


def pairs(groups_of: Sequence[Sequence[Scored]], against: str = "") -> list[tuple[Scored, Scored]]:
    """Return the pairs to test: every pair, or (`against`, each other one)."""
    found = []
    for group in groups_of:
        for first, second in itertools.combinations(group, 2):
            if not against or first.key == against:
                found.append((first, second))
            elif second.key == against:
                found.append((second, first))
    return found


def compare_pairs(chosen: Sequence[tuple[Scored, Scored]], resampled: Mapping[str, TaskResamples]) -> pd.DataFrame:
    """Return one row per pair; p-values are corrected over all rows.

    Args:
        chosen: pairs with the same examples.
        resampled: by key of a variant, the resamples of its group.

    Returns:
        Columns first, second (keys), task, metric, n, score_first, score_second, difference (second -
        first), low, high (95 %, paired bootstrap), test, only_first, only_second (examples that only one
        got right; missing for numbers), cohens_g, p_value, p_holm, verdict (`second`, `first` or empty).
    """
    macros: dict[int, MacroResamples] = {}
    rows: list[dict[str, Any]] = []
    for first, second in chosen:
        whole = resampled[first.key]
        if id(whole) not in macros:
            macros[id(whole)] = macro_average([whole])
        estimate = difference_of(macros[id(whole)], second.key, first.key)
        row: dict[str, Any] = {
            "first": first.key,
            "second": second.key,
            "task": first.task,
            "metric": first.metric,
            "n": len(first.labels),
            "score_first": float(whole.scores[first.key][0]),
            "score_second": float(whole.scores[second.key][0]),
            "difference": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "test": BOOTSTRAP,
            "only_first": None,
            "only_second": None,
            "cohens_g": None,
            "p_value": estimate.p_value,
        }
        if first.metric != "pearson_spearman":
            only_first, only_second, p_value = mcnemar_exact(first.labels, first.predictions, second.predictions)
            row.update(only_first=only_first, only_second=only_second, cohens_g=cohens_g(only_first, only_second))
            if first.metric == "accuracy":
                row.update(test=MCNEMAR, p_value=p_value)
        rows.append(row)
    for row, corrected in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = corrected
        claimed = corrected < ALPHA and row["difference"] != 0
        row["verdict"] = ("second" if row["difference"] > 0 else "first") if claimed else ""
    return pd.DataFrame(rows)
