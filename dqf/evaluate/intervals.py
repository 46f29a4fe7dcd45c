"""Intervals of one evaluation; numpy and scipy only.

Bootstraps draw examples with replacement. A resample is a row of counts rather than of indices, so a
metric is a matrix product over all resamples at once (`dqf.evaluate.metrics.Metric.weighted`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[Any]
Floats = NDArray[np.float64]
MetricFunction = Callable[[Array, Array], float]

_CHUNK_CELLS = 4_000_000
"""Counts held at once, 32 MB, so that long evaluations do not need gigabytes."""


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion; (0, 1) without observations.

    Reference: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if n <= 0:
        return 0.0, 1.0
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share = successes / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)
    low = 0.0 if successes <= 0 else max(0.0, middle - half)
    high = 1.0 if successes >= n else min(1.0, middle + half)
    return low, high


def resample_weights(n: int, n_resamples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks of (rows, n) counts that say how often each example was drawn, `n_resamples` rows in all."""
    rng = np.random.default_rng(seed)
    rows_at_once = max(1, _CHUNK_CELLS // max(n, 1))
    for start in range(0, n_resamples, rows_at_once):
        rows = min(rows_at_once, n_resamples - start)
        drawn = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def bootstrap_interval(
    metric_fn: MetricFunction, labels: Array, predictions: Array, n_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a metric.

    Args:
        metric_fn: from labels (n,) and predictions (n,) to a number; one of `dqf.evaluate.metrics`
            is resampled at once, any other function is called once per resample (slow).
        labels: (n,).
        predictions: (n,).
        n_resamples: how many.
        seed: of the resampling.

    Reference: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if len(labels) == 0:
        return 0.0, 0.0
    values = [
        evaluate_resamples(metric_fn, labels, predictions, weights)
        for weights in resample_weights(len(labels), n_resamples, seed)
    ]
    return percentile_interval(np.concatenate(values))


def paired_bootstrap_ratio(
    metric_fn: MetricFunction,
    labels: Array,
    predictions: Array,
    reference_predictions: Array,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return metric(variant) / metric(reference) with its 95 % interval, for example retention.

    Both are computed on the same resamples, so that what is hard for both cancels.

    Args:
        metric_fn: as for `bootstrap_interval`.
        labels: (n,).
        predictions: (n,) of the variant.
        reference_predictions: (n,) of the reference (the teacher).
        n_resamples: how many.
        seed: of the resampling.

    Returns:
        Ratio, lower limit, upper limit; all 0 where the reference's metric is 0.
    """
    whole, resampled = _paired(metric_fn, labels, predictions, reference_predictions, ratios_of, n_resamples, seed)
    usable = resampled[np.isfinite(resampled)]
    if not np.isfinite(whole) or len(usable) == 0:
        return 0.0, 0.0, 0.0
    return (whole, *percentile_interval(usable))


def paired_bootstrap_difference(
    metric_fn: MetricFunction,
    labels: Array,
    predictions: Array,
    reference_predictions: Array,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return metric(variant) - metric(reference) with its 95 % interval.

    Both are computed on the same resamples, so that what is hard for both cancels.

    Args:
        metric_fn: as for `bootstrap_interval`.
        labels: (n,).
        predictions: (n,) of the variant.
        reference_predictions: (n,) of the reference.
        n_resamples: how many.
        seed: of the resampling.

    Returns:
        Difference, lower limit, upper limit; all 0 without examples.
    """
    whole, resampled = _paired(metric_fn, labels, predictions, reference_predictions, np.subtract, n_resamples, seed)
    return (whole, *percentile_interval(resampled)) if len(resampled) else (0.0, 0.0, 0.0)


def _paired(
    metric_fn: MetricFunction,
    labels: Array,
    predictions: Array,
    reference_predictions: Array,
    combine: Callable[[Floats, Floats], Floats],
    n_resamples: int,
    seed: int,
) -> tuple[float, Floats]:
    """Return combine(metric of one, metric of the other) on all examples, and on each resample of both."""
    labels = np.asarray(labels)
    both = np.asarray(predictions), np.asarray(reference_predictions)
    if len(labels) == 0:
        return 0.0, np.empty(0)

    def combined(weights: Floats) -> Floats:
        first, second = (evaluate_resamples(metric_fn, labels, one, weights) for one in both)
        return combine(first, second)

    resampled = [combined(weights) for weights in resample_weights(len(labels), n_resamples, seed)]
    return float(combined(np.ones((1, len(labels))))[0]), np.concatenate(resampled)


def paired_ratio_interval(
    numerator_times: Array, denominator_times: Array, n_resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Return median(numerator) / median(denominator) with its 95 % interval, for example a speed-up.

    Args:
        numerator_times: (n,) times of the teacher, by example.
        denominator_times: (n,) times of the variant for the same examples in the same order.
        n_resamples: how many.
        seed: of the resampling.

    Returns:
        Ratio, lower limit, upper limit; all 0 without times or with a median of 0.

    Raises:
        ValueError: the two differ in length.
    """
    above, below = np.asarray(numerator_times, np.float64), np.asarray(denominator_times, np.float64)
    if len(above) != len(below):
        raise ValueError(f"paired times must be equally many: got {len(above)} and {len(below)}")
    if len(above) == 0 or float(np.median(below)) <= 0:
        return 0.0, 0.0, 0.0
    rng = np.random.default_rng(seed)
    rows_at_once = max(1, _CHUNK_CELLS // len(above))
    ratios = []
    for start in range(0, n_resamples, rows_at_once):
        rows = min(rows_at_once, n_resamples - start)
        drawn = rng.integers(0, len(above), size=(rows, len(above)))
        ratios.append(ratios_of(np.median(above[drawn], axis=1), np.median(below[drawn], axis=1)))
    usable = np.concatenate(ratios)
    ratio = float(np.median(above) / np.median(below))
    return (ratio, *percentile_interval(usable[np.isfinite(usable)]))


def evaluate_resamples(metric_fn: MetricFunction, labels: Array, predictions: Array, weights: Floats) -> Floats:
    """Return the metric of each resample, (resamples,).

    Args:
        metric_fn: as for `bootstrap_interval`.
        labels: (n,).
        predictions: (n,).
        weights: (resamples, n) counts.
    """
    weighted = getattr(metric_fn, "weighted", None)
    if weighted is not None:
        return np.asarray(weighted(labels, predictions, weights), np.float64)
    values = []
    for row in weights:
        drawn = np.repeat(np.arange(len(labels)), row.astype(np.int64))
        values.append(float(metric_fn(labels[drawn], predictions[drawn])))
    return np.asarray(values, np.float64)


def ratios_of(above: Floats | float, below: Floats | float) -> Floats:
    """Return above / below, NaN where below is (nearly) 0 or less: such resamples are left out."""
    below = np.asarray(below)
    usable = below > 1e-12
    return np.where(usable, above / np.where(usable, below, 1.0), np.nan)


def percentile_interval(values: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Return the middle `confidence` of resampled values; (0, 0) without any."""
    if len(values) == 0:
        return 0.0, 0.0
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
