import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dqf.ui.compare import comparisons, flips
from dqf.ui.compare.comparisons import Scored


def scored(key, labels, predictions, task="sst2", metric="accuracy", confidence=None):
    n = len(labels)
    confidence = np.full(n, 0.9) if confidence is None else np.asarray(confidence)
    return Scored(key, task, metric, np.arange(n), np.asarray(labels), np.asarray(predictions), confidence)


@pytest.fixture
def three():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    good = np.where(rng.random(600) < 0.9, labels, 1 - labels)
    similar = np.where(rng.random(600) < 0.9, labels, 1 - labels)
    bad = np.where(rng.random(600) < 0.7, labels, 1 - labels)
    return [scored("r/good", labels, good), scored("r/similar", labels, similar), scored("r/bad", labels, bad)]


def test_confidence_is_the_softmax_of_the_answer():
    frame = pd.DataFrame({"idx": [0, 1], "label": [0, 1], "prediction": [0, 1], "logits": [[2.0, 0.0], [0.0, 1000.0]]})
    one = comparisons.from_frame("r/a", "sst2", "accuracy", frame)
    np.testing.assert_allclose(one.confidence, [1 / (1 + np.exp(-2)), 1.0])
    frame["logits"] = [[2.0], [1.0]]
    assert np.isnan(comparisons.from_frame("r/a", "stsb", "pearson_spearman", frame).confidence).all()


def test_only_variants_with_the_same_examples_are_compared(three):
    other_task = scored("r/rte", three[0].labels, three[0].predictions, task="rte")
    other_labels = scored("r/moved", np.roll(three[0].labels, 1), three[0].predictions)
    fewer = scored("r/fewer", three[0].labels[:100], three[0].predictions[:100])
    found = comparisons.groups([*three, other_task, other_labels, fewer])
    assert [[one.key for one in group] for group in found] == [
        ["r/good", "r/similar", "r/bad"],
        ["r/rte"],
        ["r/moved"],
        ["r/fewer"],
    ]


def test_pairs_are_all_or_those_with_one_variant(three):
    assert len(comparisons.pairs([three])) == 3
    against = comparisons.pairs([three], "r/similar")
    assert [(first.key, second.key) for first, second in against] == [("r/similar", "r/good"), ("r/similar", "r/bad")]


def test_accuracies_get_mcnemar_corrected_over_what_is_shown(three):
    resampled = dict.fromkeys([one.key for one in three], comparisons.resample(three))
    table = comparisons.compare_pairs(comparisons.pairs([three]), resampled)
    for row, (first, second) in zip(table.to_dict("records"), comparisons.pairs([three]), strict=True):
        right, other = first.predictions == first.labels, second.predictions == second.labels
        b, c = int((right & ~other).sum()), int((~right & other).sum())
        assert (row["only_first"], row["only_second"]) == (b, c)
        assert row["p_value"] == pytest.approx(stats.binomtest(b, b + c).pvalue)
        assert row["difference"] == pytest.approx(other.mean() - right.mean())
        assert row["low"] <= row["difference"] <= row["high"]
    assert (table["p_holm"] >= table["p_value"]).all()
    smallest = table["p_value"].idxmin()
    assert table["p_holm"][smallest] == pytest.approx(min(1.0, 3 * table["p_value"][smallest]))
    by_pair = {(row["first"], row["second"]): row["verdict"] for row in table.to_dict("records")}
    assert by_pair["r/good", "r/bad"] == "first"
    assert by_pair["r/good", "r/similar"] == ""
    swapped = comparisons.compare_pairs([(three[2], three[0])], resampled)
    assert swapped["verdict"].tolist() == ["second"]


def test_other_metrics_get_the_paired_bootstrap():
    rng = np.random.default_rng(1)
    labels = rng.uniform(0, 5, 300)
    near = scored("r/near", labels, labels + rng.normal(0, 0.3, 300), "stsb", "pearson_spearman")
    far = scored("r/far", labels, labels + rng.normal(0, 2, 300), "stsb", "pearson_spearman")
    whole = comparisons.resample([near, far])
    table = comparisons.compare_pairs([(near, far)], {"r/near": whole, "r/far": whole})
    row = table.iloc[0]
    assert row["test"] == comparisons.BOOTSTRAP
    assert row["only_first"] is None
    assert row["high"] < 0
    assert row["p_value"] < 0.01
    assert row["verdict"] == "first"


def test_a_plain_difference_is_shown_among_many_pairs_too():
    """2 000 resamples give no p-value below 0.001, and a run of four bit-widths has 55 pairs."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 1000)
    alike = [np.where(rng.random(1000) < 0.95, labels, 1 - labels) for _ in range(10)]
    group = [
        scored(f"r/{at}", labels, one, task="cola", metric="matthews_corrcoef")
        for at, one in enumerate([*alike, rng.integers(0, 2, 1000)])
    ]
    resampled = dict.fromkeys([one.key for one in group], comparisons.resample(group))
    table = comparisons.compare_pairs(comparisons.pairs([group]), resampled)
    assert len(table) == 55
    with_guesses = table["second"] == "r/10"
    assert (table["verdict"] == "first")[with_guesses].all()
    assert (table["verdict"] == "")[~with_guesses].all()


def test_changes_are_told_apart_and_the_firmest_come_first():
    labels = np.array([0, 1, 2, 0, 1])
    first = scored("a", labels, [0, 0, 0, 0, 1], confidence=[0.6, 0.9, 0.9, 0.9, 0.9])
    second = scored("b", labels, [1, 1, 1, 0, 2], confidence=[0.6, 0.9, 0.8, 0.9, 0.99])
    frame = flips.changed(first, second)
    assert frame["idx"].tolist() == [4, 1, 2, 0]
    assert frame["kind"].tolist() == [flips.LOST, flips.WON, flips.STILL_WRONG, flips.LOST]
    assert frame["second_confidence"].tolist() == [0.99, 0.9, 0.8, 0.6]


def test_numbers_move_closer_or_further():
    labels = np.array([1.0, 2.0, 3.0])
    frame = flips.changed(
        scored("a", labels, [1.1, 4.0, 3.0], "stsb", "pearson_spearman"),
        scored("b", labels, [1.5, 2.1, 3.0], "stsb", "pearson_spearman"),
    )
    assert frame["idx"].tolist() == [1, 0]
    assert frame["kind"].tolist() == [flips.CLOSER, flips.FURTHER]


def test_texts_stand_beside_their_own_example():
    frame = flips.changed(scored("a", [0, 1, 1], [0, 0, 1]), scored("b", [0, 1, 1], [1, 0, 0]))
    texts = pd.DataFrame({"text": ["zero", "one", "two"], "pair": ["", "", "second"]})
    told = flips.with_texts(frame, texts)
    assert dict(zip(told["idx"], told["text"], strict=True)) == {0: "zero", 2: "two"}
    assert flips.named(pd.Series([0, 1, 9]), ["no", "yes"]).tolist() == ["no", "yes", "9"]
    assert flips.named(pd.Series([0.123]), []).tolist() == ["0.12"]
    assert flips.named(pd.Series([3], dtype="int8"), []).tolist() == ["3"], "a class whose name is not known"
