import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from dqf.errors import UserError
from dqf.evaluate.metrics import METRICS, compute_metric, interval_for


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("classes", [2, 5])
def test_classification_metrics_equal_scikit_learn(seed, classes):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 200)
    predictions = np.where(rng.random(200) < 0.7, labels, rng.integers(0, classes, 200))
    assert compute_metric("accuracy", labels, predictions) == pytest.approx(
        reference.accuracy_score(labels, predictions)
    )
    assert compute_metric("matthews_corrcoef", labels, predictions) == pytest.approx(
        reference.matthews_corrcoef(labels, predictions)
    )
    assert compute_metric("f1", labels == 1, predictions == 1) == pytest.approx(
        reference.f1_score(labels == 1, predictions == 1)
    )


@pytest.mark.parametrize("seed", range(5))
def test_pearson_spearman_equals_scipy_with_ties(seed):
    rng = np.random.default_rng(seed)
    labels = np.round(rng.uniform(0, 5, 150) * 2) / 2
    predictions = labels + rng.normal(0, 1, 150)
    expected = (stats.pearsonr(labels, predictions)[0] + stats.spearmanr(labels, predictions)[0]) / 2
    assert compute_metric("pearson_spearman", labels, predictions) == pytest.approx(expected)
    assert compute_metric("pearson", labels, predictions) == pytest.approx(stats.pearsonr(labels, predictions)[0])
    assert compute_metric("spearman", labels, predictions) == pytest.approx(stats.spearmanr(labels, predictions)[0])


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_weights_mean_repeated_examples(metric):
    rng = np.random.default_rng(3)
    labels, predictions = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=7).astype(float)
    values = metric.weighted(labels, predictions, weights)
    for row, value in zip(weights, values, strict=True):
        drawn = np.repeat(np.arange(60), row.astype(int))
        assert value == pytest.approx(metric(labels[drawn], predictions[drawn]))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize(
    ("labels", "predictions"), [([], []), ([0, 0, 0], [0, 1, 0]), ([0, 1, 0], [0, 0, 0]), ([0, 0], [0, 0]), ([1], [0])]
)
def test_degenerate_inputs_give_numbers(metric, labels, predictions):
    value = metric(np.array(labels), np.array(predictions))
    low, high, _ = interval_for(metric.name, np.array(labels), np.array(predictions))
    assert np.isfinite([value, low, high]).all()
    if metric.name != "accuracy":
        assert value == 0.0


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_interval_holds_the_value(metric):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 872)
    predictions = np.where(rng.random(872) < 0.9, labels, 1 - labels)
    low, high, method = interval_for(metric.name, labels, predictions, seed=1)
    assert low < metric(labels, predictions) < high
    assert high - low < 0.12
    assert method == ("wilson" if metric.name == "accuracy" else "bootstrap")
    assert (low, high, method) == interval_for(metric.name, labels, predictions, seed=1)


def test_unknown_metric_and_unequal_lengths_are_refused():
    with pytest.raises(UserError, match="did you mean `accuracy`"):
        compute_metric("acuracy", np.zeros(2), np.zeros(2))
    with pytest.raises(UserError, match="equally many"):
        compute_metric("accuracy", np.zeros(2), np.zeros(3))
