import numpy as np
import pytest
from scipy import stats

from dqf.evaluate.metrics import accuracy, f1_binary
from dqf.evaluate.statistics import (
    bootstrap_interval,
    mcnemar_exact,
    paired_bootstrap_ratio,
    paired_ratio_interval,
    resample_weights,
    wilson_interval,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (850, 872), (1, 1)])
def test_wilson_equals_scipy(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high))


def test_wilson_without_observations_knows_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_resamples_have_the_right_size_and_mean():
    weights = np.concatenate(list(resample_weights(50, 400, seed=0)))
    assert weights.shape == (400, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.mean(axis=0).min() > 0.8


def test_bootstrap_is_near_wilson_and_the_same_for_any_function():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    predictions = np.where(rng.random(500) < 0.85, labels, 1 - labels)
    fast = bootstrap_interval(accuracy, labels, predictions, seed=1)
    assert fast == pytest.approx(wilson_interval(int((labels == predictions).sum()), 500), abs=0.01)
    slow = bootstrap_interval(lambda y, p: float(np.mean(y == p)), labels, predictions, seed=1)
    assert slow == pytest.approx(fast)


def test_bootstrap_interval_covers_the_truth():
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(100):
        right = rng.random(200) < 0.8
        low, high = bootstrap_interval(accuracy, np.ones(200), right.astype(int), 500, seed)
        covered += low <= 0.8 <= high
    assert covered >= 88


def test_paired_ratio_is_narrower_than_unpaired_scores_would_be():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    teacher = np.where(rng.random(400) < 0.8, labels, 1 - labels)
    variant = teacher.copy()
    variant[:8] = 1 - variant[:8]
    ratio, low, high = paired_bootstrap_ratio(accuracy, labels, variant, teacher)
    assert ratio == pytest.approx(accuracy(labels, variant) / accuracy(labels, teacher))
    assert low < ratio < high
    single_low, single_high = bootstrap_interval(accuracy, labels, variant)
    assert high - low < single_high - single_low


def test_ratio_to_itself_is_exactly_one():
    labels = np.array([0, 1, 1, 0, 1])
    assert paired_bootstrap_ratio(f1_binary, labels, labels, labels)[:2] == (1.0, 1.0)


def test_ratio_to_a_reference_of_zero_is_zero():
    labels = np.array([0, 1, 1, 0])
    assert paired_bootstrap_ratio(f1_binary, labels, labels, np.zeros(4)) == (0.0, 0.0, 0.0)
    assert paired_bootstrap_ratio(accuracy, [], [], []) == (0.0, 0.0, 0.0)


def test_mcnemar_counts_discordant_pairs():
    labels = np.zeros(30, int)
    first, second = labels.copy(), labels.copy()
    first[:12] = 1
    second[10:13] = 1
    only_first, only_second, p_value = mcnemar_exact(labels, first, second)
    assert (only_first, only_second) == (1, 10)
    assert p_value == pytest.approx(stats.binomtest(1, 11).pvalue)
    assert mcnemar_exact(labels, first, first) == (0, 0, 1.0)


def test_speed_up_of_medians_with_common_drift_is_narrow():
    rng = np.random.default_rng(0)
    drift = rng.lognormal(0, 0.5, 200)
    ratio, low, high = paired_ratio_interval(20 * drift, 2 * drift * rng.lognormal(0, 0.02, 200))
    assert low < 10 < high
    assert low <= ratio <= high
    assert high - low < 0.8
    assert paired_ratio_interval([], []) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="equally many"):
        paired_ratio_interval([1.0], [1.0, 2.0])
