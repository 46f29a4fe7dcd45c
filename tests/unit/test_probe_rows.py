"""Which rows logits are compared on, and which are timed."""

import numpy as np

from dqf.data.tasks import CLASSIFICATION, Examples, Task
from dqf.stages.benchmark import _timed_rows
from dqf.stages.export import PROBE_ROWS, probe_rows


def test_all_classes_are_compared_of_a_file_that_is_sorted_by_class():
    labels = np.repeat([0, 1, 2], 400)
    rows = Examples(tuple(map(str, range(1200))), None, labels)
    found = probe_rows(Task("t", CLASSIFICATION, ("a", "b", "c"), "accuracy", rows, rows))
    assert len(found) == PROBE_ROWS == len(set(found))
    assert found == probe_rows(Task("t", CLASSIFICATION, ("a", "b", "c"), "accuracy", rows, rows))
    assert set(np.bincount(labels[found])) <= {85, 86}


def test_where_rows_are_few_each_is_timed_as_often_as_any_other():
    rng = np.random.default_rng(0)
    assert sorted(_timed_rows(5, 3, rng)) == sorted(set(_timed_rows(5, 3, np.random.default_rng(0))))
    counts = np.bincount(_timed_rows(71, 200, rng), minlength=71)
    assert set(counts) == {2, 3}
    assert counts.sum() == 200
