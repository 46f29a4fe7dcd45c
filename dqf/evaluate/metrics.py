"""GLUE's task metrics on numpy arrays, each written over counts so that thousands of resamples are cheap.

Degenerate inputs (no examples, one class, constant predictions) give 0.0 rather than NaN. For
classification, labels and predictions are class numbers; for F1 the positive class is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.errors import UserError, did_you_mean
from dqf.evaluate.statistics import bootstrap_interval, wilson_interval

Array = NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """A metric that can be called on labels and predictions, or on many resamples at once.

    Attributes:
        name: what results call it.
        weighted: from labels (n,), predictions (n,) and weights (resamples, n) to (resamples,) values; a
            weight says how often an example was drawn. `dqf.evaluate.statistics` uses it.
    """

    name: str
    weighted: Callable[[Array, Array, Array], Array]

    def __call__(self, labels: Array, predictions: Array) -> float:
        """Return the metric of labels (n,) and predictions (n,).

        Raises:
            UserError: the two differ in length.
        """
        labels, predictions = _pair(labels, predictions)
        return float(self.weighted(labels, predictions, np.ones((1, len(labels))))[0])


def compute_metric(name: str, labels: Array, predictions: Array) -> float:
    """Return a metric by its name.

    Args:
        name: one of `METRICS`.
        labels: (n,) class numbers, or targets for a correlation.
        predictions: (n,) likewise.

    Raises:
        UserError: unknown name, or the two differ in length.
    """
    return metric(name)(labels, predictions)


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


def beats_constant(score: float, majority: float) -> bool:
    """Tell whether a score is above that of one answer to all, by more than sums in another order differ."""
    return score > majority + 1e-9


def interval_for(
    name: str, labels: Array, predictions: Array, seed: int = 0, n_resamples: int = 2000
) -> tuple[float, float, str]:
    """Return the 95 % interval of a metric and how it was found.

    Args:
        name: the metric.
        labels: (n,).
        predictions: (n,).
        seed: of the resampling.
        n_resamples: of the bootstrap; accuracy needs none.

    Returns:
        Lower limit, upper limit, `wilson` or `bootstrap`.
    """
    labels, predictions = _pair(labels, predictions)
    if name == "accuracy":
        return (*wilson_interval(int(np.sum(labels == predictions)), len(labels)), "wilson")
    low, high = bootstrap_interval(metric(name), labels, predictions, n_resamples, seed)
    return low, high, "bootstrap"


def metric(name: str) -> Metric:
    """Return a metric by its name.

    Raises:
        UserError: unknown name.
    """
    for one in METRICS:
        if one.name == name:
            return one
    raise UserError(f"a metric must be a known one: got {name!r}{did_you_mean(name, [m.name for m in METRICS])}")


def _accuracy(labels: Array, predictions: Array, weights: Array) -> Array:
    return _ratio(weights @ (labels == predictions).astype(np.float64), weights.sum(axis=1))


def _f1(labels: Array, predictions: Array, weights: Array) -> Array:
    positive, said = labels == 1, predictions == 1
    hits = weights @ (positive & said).astype(np.float64)
    return _ratio(2 * hits, weights @ (positive.astype(np.float64) + said.astype(np.float64)))


def _matthews(labels: Array, predictions: Array, weights: Array) -> Array:
    """Return the multiclass coefficient.

    Reference: Gorodkin (2004), "Comparing two K-category assignments by a K-category correlation coefficient".
    """
    classes = np.unique(np.concatenate([labels, predictions]))
    true = weights @ (labels[:, None] == classes).astype(np.float64)
    said = weights @ (predictions[:, None] == classes).astype(np.float64)
    total = weights.sum(axis=1)
    hits = weights @ (labels == predictions).astype(np.float64)
    covariance = hits * total - (true * said).sum(axis=1)
    spread = (total**2 - (said**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
    return _ratio(covariance, np.sqrt(np.maximum(spread, 0)))


def _pearson(labels: Array, predictions: Array, weights: Array) -> Array:
    return _weighted_correlation(labels[None, :], predictions[None, :], weights)


def _spearman(labels: Array, predictions: Array, weights: Array) -> Array:
    return _weighted_correlation(_weighted_ranks(labels, weights), _weighted_ranks(predictions, weights), weights)


def _pearson_spearman(labels: Array, predictions: Array, weights: Array) -> Array:
    return (_pearson(labels, predictions, weights) + _spearman(labels, predictions, weights)) / 2


def _weighted_ranks(values: Array, weights: Array) -> Array:
    """Return the average rank of each value in each resample, (resamples, n)."""
    _, group = np.unique(values, return_inverse=True)
    counts: Array = np.zeros((len(weights), int(group.max(initial=-1)) + 1))
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    if len(starts):
        counts = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2
    return ranks[:, group]


def _weighted_correlation(first: Array, second: Array, weights: Array) -> Array:
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    first = first - (weights * first).sum(axis=1, keepdims=True) / total
    second = second - (weights * second).sum(axis=1, keepdims=True) / total
    variances = (weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1)
    return _ratio((weights * first * second).sum(axis=1), np.sqrt(variances))


def _ratio(above: Array, below: Array) -> Array:
    """Return above / below, 0 where below is (nearly) 0."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    usable = below > 1e-12
    return np.where(usable, above / np.where(usable, below, 1.0), 0.0)


def _pair(labels: Array, predictions: Array) -> tuple[Array, Array]:
    labels, predictions = np.asarray(labels).ravel(), np.asarray(predictions).ravel()
    if len(labels) != len(predictions):
        raise UserError(f"labels and predictions must be equally many: got {len(labels)} and {len(predictions)}.")
    return labels, predictions


accuracy = Metric("accuracy", _accuracy)
"""The share of equal entries, 0..1."""
f1_binary = Metric("f1", _f1)
"""The F1 score of class 1, 0..1."""
matthews_corrcoef = Metric("matthews_corrcoef", _matthews)
"""The Matthews correlation coefficient, -1..1, for two or more classes."""
pearson_spearman = Metric("pearson_spearman", _pearson_spearman)
"""The mean of Pearson's and Spearman's correlation, -1..1."""

pearson = Metric("pearson", _pearson)
"""Pearson's correlation, -1..1."""
spearman = Metric("spearman", _spearman)
"""Spearman's rank correlation, -1..1."""

METRICS = (accuracy, f1_binary, matthews_corrcoef, pearson_spearman, pearson, spearman)
FURTHER = {"f1": ("accuracy",), "pearson_spearman": ("pearson", "spearman")}
"""What GLUE reports besides a task's primary metric, or as its parts: no part of any average."""
