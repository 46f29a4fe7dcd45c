"""Tests, corrections and effect sizes against scipy and statsmodels on random inputs."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from statsmodels.stats.multitest import multipletests

from dqf.evaluate.statistics import (
    cohens_d,
    cohens_dz,
    cohens_g,
    count_flips,
    holm,
    mcnemar_exact,
    paired_t_test,
    welch_t_test,
)

SEEDS = range(40)


def samples(seed, same_length=False):
    rng = np.random.default_rng(seed)
    first = rng.normal(rng.normal(), rng.uniform(0.1, 3), rng.integers(2, 12))
    length = len(first) if same_length else rng.integers(2, 12)
    return first, rng.normal(rng.normal(), rng.uniform(0.1, 3), length)


@pytest.mark.parametrize("seed", SEEDS)
def test_welch_equals_scipy(seed):
    first, second = samples(seed)
    expected = stats.ttest_ind(first, second, equal_var=False)
    interval = expected.confidence_interval()
    found = welch_t_test(first, second)
    assert (found.t, found.p_value, found.df) == pytest.approx((expected.statistic, expected.pvalue, expected.df))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx(first.mean() - second.mean())


@pytest.mark.parametrize("seed", SEEDS)
def test_paired_t_equals_scipy(seed):
    first, second = samples(seed, same_length=True)
    expected = stats.ttest_rel(first, second)
    interval = expected.confidence_interval()
    found = paired_t_test(first, second)
    assert (found.t, found.p_value, found.df) == pytest.approx((expected.statistic, expected.pvalue, expected.df))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert cohens_dz(first, second) == pytest.approx(expected.statistic / math.sqrt(len(first)))


@pytest.mark.parametrize("seed", SEEDS)
def test_cohens_d_equals_the_equal_variance_t_statistic_scaled(seed):
    first, second = samples(seed)
    t = stats.ttest_ind(first, second).statistic
    assert cohens_d(first, second) == pytest.approx(t * math.sqrt(1 / len(first) + 1 / len(second)))
    assert cohens_d(second, first) == pytest.approx(-cohens_d(first, second))


@pytest.mark.parametrize("seed", SEEDS)
def test_holm_equals_statsmodels(seed):
    rng = np.random.default_rng(seed)
    p_values = rng.uniform(0, rng.uniform(0.001, 1), rng.integers(1, 15)).round(3)
    assert holm(list(p_values)) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_mcnemar_and_flips_equal_statsmodels(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    labels, first, second = (rng.integers(0, 3, n) for _ in range(3))
    table = np.zeros((2, 2), int)
    for was, now in zip(first == labels, second == labels, strict=True):
        table[int(was), int(now)] += 1
    only_first, only_second, p_value = mcnemar_exact(labels, first, second)
    assert p_value == pytest.approx(mcnemar_of_statsmodels(table, exact=True).pvalue)
    flips = count_flips(labels, second, first)
    assert (flips.right_to_wrong, flips.wrong_to_right) == (only_first, only_second) == (table[1, 0], table[0, 1])
    assert flips.net == (second == labels).sum() - (first == labels).sum()
    assert flips.changed == (first != second).sum() >= only_first + only_second
    assert -0.5 <= cohens_g(only_first, only_second) <= 0.5


def test_effect_sizes_of_discordant_pairs():
    assert cohens_g(10, 30) == 0.25
    assert cohens_g(0, 0) == 0.0


@pytest.mark.parametrize("test", [welch_t_test, paired_t_test])
def test_one_seed_or_none_says_nothing(test):
    for first, second in (([], []), ([0.5], [0.4])):
        found = test(first, second)
        assert (found.p_value, found.low, found.high, found.t, found.df) == (1.0, -math.inf, math.inf, 0.0, 0.0)
    assert test([0.5], [0.4]).difference == pytest.approx(0.1)
    assert cohens_d([0.5], [0.4]) == cohens_dz([0.5], [0.4]) == 0.0


@pytest.mark.parametrize("test", [welch_t_test, paired_t_test])
def test_no_variance_is_certain(test):
    same = test([0.7, 0.7, 0.7], [0.7, 0.7, 0.7])
    assert (same.difference, same.p_value, same.t) == (0.0, 1.0, 0.0)
    other = test([0.1 + 0.2] * 3, [0.2] * 3)
    assert (other.p_value, other.t) == (0.0, math.inf)
    assert other.low == other.high == pytest.approx(0.1)
    assert cohens_d([0.3] * 3, [0.2] * 3) == 0.0


@pytest.mark.parametrize("function", [paired_t_test, cohens_dz])
def test_pairs_must_be_pairs(function):
    with pytest.raises(ValueError, match="equally long"):
        function([1.0, 2.0], [1.0])
