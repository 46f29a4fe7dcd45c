"""Bootstraps of macro averages: against closed forms, other implementations and the truth."""

import numpy as np
import pytest
from scipy import stats

from dqf.evaluate.metrics import accuracy, f1_binary, matthews_corrcoef, pearson_spearman
from dqf.evaluate.statistics import (
    bootstrap_interval,
    bootstrap_p_value,
    estimate_of,
    far_p_value,
    macro_average,
    paired_bootstrap_difference,
    paired_bootstrap_ratio,
    resample_task,
)


def noisy(rng, labels, share):
    return np.where(rng.random(len(labels)) < share, labels, 1 - labels)


@pytest.mark.parametrize("metric", [accuracy, f1_binary, matthews_corrcoef, pearson_spearman])
@pytest.mark.parametrize("seed", range(8))
def test_difference_equals_resampling_by_hand(metric, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 60)
    first, second = noisy(rng, labels, 0.9), noisy(rng, labels, 0.7)
    value, low, high = paired_bootstrap_difference(metric, labels, first, second, 300, seed)
    drawn = np.random.default_rng(seed).integers(0, 60, size=(300, 60))
    by_hand = [metric(labels[i], first[i]) - metric(labels[i], second[i]) for i in drawn]
    assert value == pytest.approx(metric(labels, first) - metric(labels, second))
    assert (low, high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])))


def test_difference_interval_is_near_scipys():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    first, second = noisy(rng, labels, 0.9), noisy(rng, labels, 0.8)
    _, low, high = paired_bootstrap_difference(accuracy, labels, first, second, 4000)
    expected = stats.bootstrap(
        ((first == labels).astype(float) - (second == labels),), np.mean, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.008)


def test_difference_of_nothing_and_to_itself():
    assert paired_bootstrap_difference(accuracy, [], [], []) == (0.0, 0.0, 0.0)
    labels = np.array([0, 1, 1, 0])
    assert paired_bootstrap_difference(accuracy, labels, labels, labels) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_one_task_and_seed_is_the_plain_bootstrap(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 100)
    variant, teacher = noisy(rng, labels, 0.8), noisy(rng, labels, 0.9)
    task = resample_task(f1_binary, labels, {"teacher": teacher, "variant": variant}, 500, seed)
    macro = macro_average([task])
    score = estimate_of(lambda s: s["variant"], macro)
    assert (score.low, score.high) == pytest.approx(bootstrap_interval(f1_binary, labels, variant, 500, seed))
    retention = estimate_of(lambda s: s["variant"] / s["teacher"], macro, null=1.0)
    expected = paired_bootstrap_ratio(f1_binary, labels, variant, teacher, 500, seed)
    assert (retention.value, retention.low, retention.high) == pytest.approx(expected)


def test_macro_average_is_the_mean_of_tasks_and_its_spread_shrinks_as_theirs_do():
    rng = np.random.default_rng(0)
    tasks, deviations = [], []
    for n in (100, 400, 900):
        labels = rng.integers(0, 2, n)
        tasks.append(resample_task(accuracy, labels, {"one": noisy(rng, labels, 0.8)}, 2000, n))
        deviations.append(np.sqrt(tasks[-1].scores["one"][0] * (1 - tasks[-1].scores["one"][0]) / n))
    macro = macro_average(tasks)
    assert macro.scores["one"] == pytest.approx(np.mean([task.scores["one"][0] for task in tasks]))
    assert macro.resampled["one"].std() == pytest.approx(np.sqrt(np.sum(np.square(deviations))) / 3, rel=0.08)


def test_paired_intervals_cover_the_truth():
    """Two classifiers of known accuracy on two tasks: about 95 % of the intervals hold the true difference."""
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(120):
        tasks = []
        for number, n in enumerate((80, 150)):
            hard = rng.random(n)
            predictions = {"good": (hard < 0.85).astype(int), "bad": (hard < 0.80).astype(int)}
            tasks.append(resample_task(accuracy, np.ones(n, int), predictions, 400, 2 * seed + number))
        found = estimate_of(lambda s: s["good"] - s["bad"], macro_average(tasks))
        covered += found.low <= 0.05 <= found.high
    assert covered >= 105


def test_drawing_seeds_widens_the_interval_by_their_spread():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 2000)
    seeds = np.stack([noisy(rng, labels, share) for share in (0.7, 0.8, 0.9)])
    task = resample_task(accuracy, labels, {"student": seeds, "teacher": noisy(rng, labels, 0.95)}, 1500, 0)
    fixed, drawn = (
        estimate_of(lambda s: s["student"] / s["teacher"], macro_average([task], resample_seeds))
        for resample_seeds in (False, True)
    )
    assert fixed.value == drawn.value
    assert fixed.high - fixed.low < 0.03
    assert drawn.high - drawn.low > 0.1
    deviation = macro_average([task], True).resampled["student"].std()
    assert deviation == pytest.approx(np.std(task.scores["student"], ddof=1) / np.sqrt(3), rel=0.05)


def test_pairs_of_students_share_the_drawn_seeds():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 3000)
    bases = [noisy(rng, labels, share) for share in (0.6, 0.9)]
    worse = [np.where(rng.random(3000) < 0.02, 1 - base, base) for base in bases]
    task = resample_task(accuracy, labels, {"a": np.stack(bases), "b": np.stack(worse)}, 800, 0)
    found = estimate_of(lambda s: s["a"] - s["b"], macro_average([task], resample_seeds=True))
    assert found.high - found.low < 0.02


def test_p_value_agrees_with_the_interval():
    rng = np.random.default_rng(4)
    for shift in np.linspace(-0.3, 0.3, 31):
        values = rng.normal(shift, 0.1, 2000)
        low, high = np.quantile(values, [0.025, 0.975])
        if min(abs(low), abs(high)) > 0.01:
            assert (bootstrap_p_value(values) < 0.05) == (low > 0 or high < 0)
    assert bootstrap_p_value([]) == 1.0
    assert bootstrap_p_value(np.full(999, 5.0)) == pytest.approx(2 / 1000)
    assert bootstrap_p_value(np.zeros(100)) == 1.0


def test_degenerate_inputs_are_defined():
    empty = resample_task(accuracy, [], {"teacher": [], "student": np.zeros((3, 0))}, 50)
    macro = macro_average([empty], resample_seeds=True)
    assert macro.scores == {"teacher": 0.0, "student": 0.0}
    ratio = estimate_of(lambda s: s["student"] / s["teacher"], macro, null=1.0)
    assert (ratio.value, ratio.low, ratio.high, ratio.p_value) == (0.0, 0.0, 0.0, 1.0)
    same = resample_task(accuracy, np.ones(5), {"one": np.ones(5)}, 50)
    certain = estimate_of(lambda s: s["one"], macro_average([same]))
    assert (certain.value, certain.low, certain.high) == (1.0, 1.0, 1.0)
    assert macro_average([]).scores == {}


def test_mismatched_inputs_are_refused():
    with pytest.raises(ValueError, match="one prediction"):
        resample_task(accuracy, [0, 1], {"one": [0]})
    one = resample_task(accuracy, [0, 1], {"a": [0, 1]}, 10)
    other = resample_task(accuracy, [0, 1], {"a": [0, 1]}, 20)
    with pytest.raises(ValueError, match="same number of resamples"):
        macro_average([one, other])


def test_far_p_values_go_on_where_resamples_end():
    rng = np.random.default_rng(0)
    near, far = rng.normal(2.0, 1.0, 999), rng.normal(8.0, 1.0, 999)
    assert far_p_value(2.0, near) == bootstrap_p_value(near)
    assert bootstrap_p_value(far) == pytest.approx(2 / 1000)
    assert far_p_value(8.0, far) == pytest.approx(2 * stats.norm.sf(8.0 / far.std()))
    assert far_p_value(8.0, far) < 1e-12
    assert far_p_value(5.0, np.full(999, 5.0)) == pytest.approx(2 / 1000), "without any spread nothing is known beyond"
    assert far_p_value(1.0, np.linspace(0.1, 1.9, 999)) == pytest.approx(2 / 1000), "never above the bootstrap's own"
    assert far_p_value(0.0, []) == 1.0
