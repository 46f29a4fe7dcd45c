"""Bootstrap of macro averages over tasks: examples are drawn within each task, seeds too if asked.

One task's examples are drawn once for all variants and seeds, so any difference or ratio of variants
is paired. Resample r of the macro average is the mean of the tasks' resamples r.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dqf.evaluate.intervals import MetricFunction, evaluate_resamples, percentile_interval, resample_weights

Array = NDArray[Any]
Floats = NDArray[np.float64]
Statistic = Callable[[Mapping[str, Any]], Any]
"""From {variant: score} to a number; called with floats and with (resamples,) arrays."""

N_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and the two-sided p-value of it being `null`."""

    value: float
    low: float
    high: float
    p_value: float = 1.0
    null: float = 0.0


@dataclass(frozen=True)
class TaskResamples:
    """Scores of all variants on one task.

    Attributes:
        scores: by variant, (seeds,).
        resampled: by variant, (resamples, seeds); the same examples for every variant and seed.
        n: examples.
    """

    scores: Mapping[str, Floats]
    resampled: Mapping[str, Floats]
    n: int


@dataclass(frozen=True)
class MacroResamples:
    """Scores averaged over seeds and then over tasks.

    Attributes:
        scores: by variant.
        resampled: by variant, (resamples,).
    """

    scores: Mapping[str, float]
    resampled: Mapping[str, Floats]


def resample_task(
    metric_fn: MetricFunction,
    labels: Array,
    predictions: Mapping[str, Array],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> TaskResamples:
    """Return scores and resampled scores of all variants on one task.

    Args:
        metric_fn: one of `dqf.evaluate.metrics` (fast), or any function of labels and predictions.
        labels: (n,).
        predictions: by variant, (seeds, n) or (n,) for one seed.
        n_resamples: how many.
        seed: of the resampling.

    Returns:
        All scores are 0 without examples.

    Raises:
        ValueError: a variant has more or fewer predictions than there are labels.
    """
    labels = np.asarray(labels)
    rows = {name: np.atleast_2d(np.asarray(given)) for name, given in predictions.items()}
    for name, given in rows.items():
        if given.shape[1] != len(labels):
            raise ValueError(f"every example needs one prediction: {name} has {given.shape[1]} for {len(labels)}")
    if len(labels) == 0:
        none = {name: np.zeros(len(given)) for name, given in rows.items()}
        return TaskResamples(none, {name: np.zeros((n_resamples, len(given))) for name, given in rows.items()}, 0)

    def scores(weights: Floats) -> dict[str, Floats]:
        return {
            name: np.stack([evaluate_resamples(metric_fn, labels, one, weights) for one in given], axis=1)
            for name, given in rows.items()
        }

    blocks = [scores(weights) for weights in resample_weights(len(labels), n_resamples, seed)]
    whole = scores(np.ones((1, len(labels))))
    return TaskResamples(
        {name: whole[name][0] for name in rows},
        {name: np.concatenate([block[name] for block in blocks]) for name in rows},
        len(labels),
    )


def macro_average(tasks: Sequence[TaskResamples], resample_seeds: bool = False, seed: int = 0) -> MacroResamples:
    """Return the mean over tasks of each variant's mean over seeds.

    Args:
        tasks: with the same number of resamples; a variant counts if every task has it.
        resample_seeds: draw seeds with replacement too, within each task. The same draw serves every
            variant with that many seeds (a pair of students shares its seed); a variant with one seed,
            such as the teacher, stays as it is. Of k seeds k - 1 are drawn: k would understate the variance
            of their mean by a factor of (k - 1) / k, a third for three seeds.
        seed: of drawing the seeds.

    Raises:
        ValueError: the tasks differ in their number of resamples.

    Reference: Rao and Wu (1988), "Resampling inference with complex survey data", for drawing k - 1 of k.
    """
    if not tasks:
        return MacroResamples({}, {})
    names = [name for name in tasks[0].scores if all(name in task.scores for task in tasks)]
    lengths = {len(task.resampled[name]) for task in tasks for name in names}
    if len(lengths) > 1:
        raise ValueError(f"all tasks must have the same number of resamples: got {sorted(lengths)}")
    rng = np.random.default_rng(seed)
    scores = {name: float(np.mean([task.scores[name].mean() for task in tasks])) for name in names}
    totals: dict[str, Floats] = {name: np.zeros(max(lengths, default=0)) for name in names}
    for task in tasks:
        drawn: dict[int, NDArray[np.int64]] = {}
        for name in names:
            values = task.resampled[name]
            count, seeds = values.shape
            if resample_seeds and seeds > 1:
                if seeds not in drawn:
                    drawn[seeds] = rng.integers(0, seeds, size=(count, seeds - 1))
                values = np.take_along_axis(values, drawn[seeds], axis=1)
            totals[name] += values.mean(axis=1) / len(tasks)
    return MacroResamples(scores, totals)


def estimate_of(statistic: Statistic, macro: MacroResamples, null: float = 0.0) -> Estimate:
    """Return a statistic of the macro averages with its interval and p-value.

    Args:
        statistic: for example `lambda s: s["student-dqf"] / s["teacher"]` for retention.
        macro: averages over tasks.
        null: value the p-value is about.

    Returns:
        Resamples where the statistic is not finite are left out; where it is not finite on the data
        itself all figures are 0 and the p-value is 1.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        try:
            value = float(statistic(macro.scores))
        except ZeroDivisionError:
            return Estimate(0.0, 0.0, 0.0, 1.0, null)
        resampled = np.asarray(statistic(macro.resampled), np.float64).ravel()
    usable = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or len(usable) == 0:
        return Estimate(0.0, 0.0, 0.0, 1.0, null)
    low, high = percentile_interval(usable)
    return Estimate(value, low, high, bootstrap_p_value(usable, null), null)


def bootstrap_p_value(resampled: Array, null: float = 0.0) -> float:
    """Return the two-sided p-value that inverting the percentile interval gives; 1 without resamples.

    It is never 0: at most 1 of n + 1 resamples can be said to lie beyond.

    Reference: Davison and Hinkley (1997), "Bootstrap Methods and their Application", 4.2.
    """
    values = np.asarray(resampled, np.float64)
    if len(values) == 0:
        return 1.0
    tolerance = 1e-12
    below, above = int(np.sum(values <= null + tolerance)), int(np.sum(values >= null - tolerance))
    return min(1.0, 2 * (min(below, above) + 1) / (len(values) + 1))


def far_p_value(value: float, resampled: Array, null: float = 0.0) -> float:
    """Return the two-sided p-value of a bootstrap, beyond the smallest that its number of resamples can give.

    Where no resample lies on the other side of `null`, `bootstrap_p_value` is 2 / (n + 1) whatever the effect, which a
    correction over many tests can leave above any limit. There it is the normal distribution's with the standard
    deviation of the resamples, if that is smaller.

    Args:
        value: the statistic on the data.
        resampled: (n,) on the resamples.
        null: value the p-value is about.

    Reference: Davison and Hinkley (1997), 5.2.1 (normal approximation with a bootstrap standard error).
    """
    values = np.asarray(resampled, np.float64)
    p_value, spread = bootstrap_p_value(values, null), float(values.std()) if len(values) else 0.0
    if spread <= 0 or p_value > 2 / (len(values) + 1):
        return p_value
    return min(p_value, 2 * float(stats.norm.sf(abs(value - null) / spread)))


def difference_of(macro: MacroResamples, of: str, minus: str) -> Estimate:
    """Return how far one variant is above another, with the p-value of `far_p_value`: it may stand among many.

    Args:
        macro: averages that hold both.
        of: name of the one.
        minus: name of the other.
    """
    found = estimate_of(lambda s: s[of] - s[minus], macro)
    return replace(found, p_value=far_p_value(found.value, macro.resampled[of] - macro.resampled[minus]))
