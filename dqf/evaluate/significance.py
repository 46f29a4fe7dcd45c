"""Tests, their correction, effect sizes and flips; numpy and scipy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[Any]


@dataclass(frozen=True)
class TTest:
    """A t-test of a difference of means.

    Attributes:
        difference: of the means.
        low, high: 95 % interval of the difference; infinite where nothing is known (one seed).
        p_value: two-sided; 1 where nothing is known.
        t: the statistic, infinite for a difference without any variance.
        df: degrees of freedom, 0 where nothing is known.
    """

    difference: float
    low: float
    high: float
    p_value: float
    t: float
    df: float


@dataclass(frozen=True)
class Flips:
    """How predictions changed against a reference.

    Attributes:
        right_to_wrong, wrong_to_right: examples that were lost and won.
        changed: examples with another prediction, wrong to otherwise wrong included.
        n: examples.
    """

    right_to_wrong: int
    wrong_to_right: int
    changed: int
    n: int

    @property
    def net(self) -> int:
        """Examples won less examples lost."""
        return self.wrong_to_right - self.right_to_wrong


def mcnemar_exact(labels: Array, first: Array, second: Array) -> tuple[int, int, float]:
    """Test whether two classifiers err equally often on the same examples.

    Args:
        labels: (n,) true classes.
        first: (n,) predictions of the first classifier.
        second: (n,) predictions of the second one.

    Returns:
        Examples only the first got right, examples only the second got right, two-sided exact p-value.

    Reference: McNemar (1947); exact version: binomial test on the discordant pairs.
    """
    right_first, right_second = np.asarray(first) == np.asarray(labels), np.asarray(second) == np.asarray(labels)
    only_first = int(np.sum(right_first & ~right_second))
    only_second = int(np.sum(right_second & ~right_first))
    if only_first + only_second == 0:
        return 0, 0, 1.0
    p_value = stats.binomtest(only_first, only_first + only_second, 0.5).pvalue
    return only_first, only_second, float(p_value)


def welch_t_test(first: Sequence[float] | Array, second: Sequence[float] | Array) -> TTest:
    """Test mean(first) - mean(second) with two samples of unequal variance, as the paper does over seeds.

    With fewer than two values on a side nothing can be said: the p-value is 1. Without any variance
    the difference is certain: the p-value is 0, or 1 where there is none.

    Reference: Welch (1947), "The generalization of 'Student's' problem".
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(one) == 0 or len(other) == 0:
        return _unknown(0.0)
    difference = float(one.mean() - other.mean())
    if len(one) < 2 or len(other) < 2:
        return _unknown(difference)
    parts = float(one.var(ddof=1)) / len(one), float(other.var(ddof=1)) / len(other)
    error = math.sqrt(sum(parts))
    if error <= _rounding(one, other):
        return _certain(difference, len(one) + len(other) - 2, _rounding(one, other))
    df = sum(parts) ** 2 / (parts[0] ** 2 / (len(one) - 1) + parts[1] ** 2 / (len(other) - 1))
    return _t_test(difference, error, df)


def paired_t_test(first: Sequence[float] | Array, second: Sequence[float] | Array) -> TTest:
    """Test mean(first - second) over pairs; defined for few pairs and no variance as `welch_t_test`.

    Raises:
        ValueError: the two differ in length.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(one) != len(other):
        raise ValueError(f"pairs need two equally long samples: got {len(one)} and {len(other)}")
    if len(one) == 0:
        return _unknown(0.0)
    differences = one - other
    difference = float(differences.mean())
    if len(one) < 2:
        return _unknown(difference)
    error = float(differences.std(ddof=1)) / math.sqrt(len(one))
    if error <= _rounding(one, other):
        return _certain(difference, len(one) - 1, _rounding(one, other))
    return _t_test(difference, error, len(one) - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for being a family, in the given order.

    Reference: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def cohens_d(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Return the difference of means in pooled standard deviations; 0 where it is not defined.

    Reference: Cohen (1988), "Statistical Power Analysis for the Behavioral Sciences", 2.2.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(one) < 2 or len(other) < 2:
        return 0.0
    spread = (len(one) - 1) * one.var(ddof=1) + (len(other) - 1) * other.var(ddof=1)
    deviation = math.sqrt(float(spread) / (len(one) + len(other) - 2))
    return float(one.mean() - other.mean()) / deviation if deviation > _rounding(one, other) else 0.0


def cohens_dz(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Return the mean difference of pairs in standard deviations of the differences; 0 where not defined.

    Raises:
        ValueError: the two differ in length.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(one) != len(other):
        raise ValueError(f"pairs need two equally long samples: got {len(one)} and {len(other)}")
    if len(one) < 2:
        return 0.0
    differences = one - other
    deviation = float(differences.std(ddof=1))
    return float(differences.mean()) / deviation if deviation > _rounding(one, other) else 0.0


def cohens_g(only_first: int, only_second: int) -> float:
    """Return how far the share of discordant pairs that the second won is from one half, -0.5..0.5.

    Reference: Cohen (1988), 5.2; the effect size that goes with McNemar's test.
    """
    total = only_first + only_second
    return only_second / total - 0.5 if total else 0.0


def count_flips(labels: Array, predictions: Array, reference: Array) -> Flips:
    """Return how class predictions changed against a reference's.

    Args:
        labels: (n,) true classes.
        predictions: (n,) of the variant.
        reference: (n,) of the reference, for example the teacher.
    """
    labels, predictions, reference = np.asarray(labels), np.asarray(predictions), np.asarray(reference)
    right, was_right = predictions == labels, reference == labels
    return Flips(
        int(np.sum(was_right & ~right)),
        int(np.sum(~was_right & right)),
        int(np.sum(predictions != reference)),
        len(labels),
    )


def _t_test(difference: float, error: float, df: float) -> TTest:
    half = float(stats.t.ppf(0.975, df)) * error
    t = difference / error
    return TTest(difference, difference - half, difference + half, float(2 * stats.t.sf(abs(t), df)), t, df)


def _unknown(difference: float) -> TTest:
    return TTest(difference, -math.inf, math.inf, 1.0, 0.0, 0.0)


def _certain(difference: float, df: float, rounding: float) -> TTest:
    if abs(difference) <= rounding:
        return TTest(difference, difference, difference, 1.0, 0.0, df)
    return TTest(difference, difference, difference, 0.0, math.copysign(math.inf, difference), df)


def _rounding(one: Array, other: Array) -> float:
    """Return the size below which a difference of such values is nothing but rounding."""
    return 1e-14 * max(1e-300, float(np.abs(one).max(initial=0.0)), float(np.abs(other).max(initial=0.0)))
