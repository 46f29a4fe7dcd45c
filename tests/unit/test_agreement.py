"""When do two sets of logits agree?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dqf.evaluate.agreement import CHANCE, FLIPPED, agreement, allowed_flips

RNG = np.random.default_rng(0)


def flipped(rows: int, flips: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits of near ties, and the same with so many predicted classes exchanged."""
    reference = np.tile([100.0, 100.1, 0.0], (rows, 1))
    other = reference.copy()
    other[:flips, :2] = other[:flips, 1::-1]
    return reference, other


@pytest.mark.parametrize("rows", [16, 128, 256, 1000])
def test_as_many_flips_are_allowed_as_chance_makes_of_the_largest_share(rows):
    most = allowed_flips(rows)
    assert agreement(*flipped(rows, most), regression=False, tolerance=0.05)["faithful"]
    assert not agreement(*flipped(rows, most + 1), regression=False, tolerance=0.05)["faithful"]
    drawn = RNG.binomial(rows, FLIPPED, 20_000)
    assert (drawn > most).mean() <= CHANCE + 0.01


def test_a_runtime_that_flips_twice_the_share_is_refused_more_often_than_not():
    assert stats.binom.sf(allowed_flips(256), 256, 2 * FLIPPED) > 0.5


def test_distance_and_infinite_logits_are_refused_whatever_the_classes():
    reference = RNG.normal(size=(64, 3))
    assert agreement(reference, reference * 1.04, regression=False, tolerance=0.05)["faithful"]
    assert not agreement(reference, reference * 1.06, regression=False, tolerance=0.05)["faithful"]
    broken = reference.copy()
    broken[3, 1] = np.inf
    assert not agreement(reference, broken, regression=False, tolerance=np.inf)["faithful"]


def test_regression_has_no_classes_to_flip():
    reference = np.array([[1.0], [2.0], [3.0]])
    seen = agreement(reference, reference[::-1] * 1.0, regression=True, tolerance=1.0)
    assert (seen["flips"], seen["argmax_agreement"], seen["faithful"]) == (0, 1.0, True)
