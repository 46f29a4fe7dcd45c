import numpy as np
import pytest

from dqf.data.augment import CHANGED, altered
from dqf.data.tasks import UNLABELLED, Examples

TEXTS = ("The cat sat on the mat .", "A dog ran far away from home", "word", "", "Two words")


def examples(pairs=None, labels=(0, 1, 0, 1, 0)):
    return Examples(TEXTS, pairs, np.array(labels))


def test_each_row_has_its_copies_in_its_place_without_labels():
    out = altered(examples(), 3, 0)
    assert len(out) == 3 * len(TEXTS)
    assert set(out.labels) == {UNLABELLED}
    assert out.pairs is None
    words = {word for text in TEXTS for word in text.split()}
    for at, text in enumerate(out.texts):
        original = TEXTS[at % len(TEXTS)]
        assert set(text.split()) <= words
        assert len(text.split()) <= len(original.split())
        assert text.split() or not original.split()


def test_short_texts_stay_and_the_others_change():
    long = tuple(f"number {i} of many different sentences about nothing at all" for i in range(200))
    out = altered(Examples(long, None, np.zeros(200, dtype=np.int64)), 1, 0)
    same = sum(text == original for text, original in zip(out.texts, long, strict=True))
    assert same <= 4  # a word may be replaced by itself
    kept = altered(examples(), 5, 0)
    assert {kept.texts[at] for at in range(2, 25, 5)} == {"word"}
    assert {kept.texts[at] for at in range(3, 25, 5)} == {""}


def test_about_as_many_words_are_dropped_as_it_says():
    long = tuple(" ".join(f"w{i}" for i in range(100)) for _ in range(50))
    out = altered(Examples(long, None, np.zeros(50, dtype=np.int64)), 1, 0)
    share = 1 - np.mean([len(text.split()) for text in out.texts]) / 100
    assert share == pytest.approx(CHANGED, abs=0.02)


def test_the_seed_decides_and_both_sides_of_a_pair_change():
    pairs = tuple(reversed(TEXTS))
    one, again, other = (altered(examples(pairs), 2, seed) for seed in (0, 0, 1))
    assert (one.texts, one.pairs) == (again.texts, again.pairs)
    assert one.texts != other.texts
    assert one.pairs is not None
    assert one.pairs[0] != pairs[0] or one.pairs[3] != pairs[3]


def test_targets_of_a_regression_are_hidden_too():
    assert np.isnan(altered(examples(labels=(0.5, 1.5, 2.5, 3.5, 4.5)), 1, 0).labels).all()
