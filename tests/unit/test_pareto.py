"""The frontier against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from dqf.evaluate.pareto import cheapest_within, pareto_mask, step_line

NAN = float("nan")


def dominated(costs: np.ndarray) -> np.ndarray:
    """The definition, word for word."""
    return np.array([any((other <= row).all() and (other < row).any() for other in costs) for row in costs])


def test_known_frontier():
    mask = pareto_mask([1, 2, 3, 4], [0.5, 0.8, 0.7, 0.9])
    assert mask.tolist() == [True, True, False, True]


def test_equal_points_stay_together_and_worse_twins_fall():
    assert pareto_mask([1, 1, 1], [0.5, 0.5, 0.4]).tolist() == [True, True, False]
    assert pareto_mask([1, 2], [0.5, 0.5]).tolist() == [True, False]


def test_missing_values_are_never_efficient():
    assert pareto_mask([1, NAN, 3, 0], [0.5, 0.9, 0.6, NAN]).tolist() == [True, False, True, False]
    assert pareto_mask([], []).tolist() == []


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_the_definition(seed):
    points = np.random.default_rng(seed).integers(0, 8, size=(60, 2)).astype(float)
    expected = ~dominated(np.column_stack((points[:, 0], -points[:, 1])))
    assert (pareto_mask(points[:, 0], points[:, 1]) == expected).all()


def test_step_line_rises_and_holds_each_point_once():
    cost, score = step_line([3, 1, 1, 2, NAN], [0.9, 0.5, 0.5, 0.4, 1.0])
    assert cost.tolist() == [1, 3]
    assert score.tolist() == [0.5, 0.9]


def test_cheapest_within_uses_each_rows_own_reference():
    assert cheapest_within([1, 2, 3], [0.70, 0.88, 0.90], 0.90, 0.02) == 1
    assert cheapest_within([1, 2, 3], [0.70, 0.88, 0.90], [0.71, 0.99, 0.90], 0.02) == 0
    assert cheapest_within([1, 2], [0.1, 0.2], 0.9, 0.02) is None
    assert cheapest_within([1, 1], [0.89, 0.90], 0.9, 0.02) == 1


def test_costs_that_hardly_differ_tie():
    assert cheapest_within([100, 100.9, 101.1], [0.86, 0.87, 0.90], 0.88, 0.03, same_cost=0.01) == 1
    assert cheapest_within([100, 100.9, 101.1], [0.86, 0.87, 0.90], 0.88, 0.03) == 0


def test_exact_tolerance_counts_as_within():
    assert cheapest_within([1.0], [0.88], 0.90, 0.02) == 0


def test_columns_must_match():
    with pytest.raises(ValueError, match="equally long"):
        pareto_mask([1, 2], [1])
