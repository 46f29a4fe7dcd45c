"""Which lengths of single rows get graphs of their own."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from dqf.data.tasks import CLASSIFICATION, Examples
from dqf.errors import Cancelled
from dqf.progress import SilentReporter
from dqf.runtimes._lengths import padded_length
from dqf.serving.client import ServingEnded
from dqf.stages import _fixed_lengths
from dqf.stages._fixed_lengths import fit_lengths, keep_where_faster

TOKENS = [5] * 3 + [12, 12, 16, 9, 10] + [30] * 2
"""Padded: 8 three times, 16 five times, 32 twice."""
LONGEST = 64
REFERENCE = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [0.0, 3.0]], dtype=np.float32)


class FakeServed:
    """Answers as a serving process does whose graphs take 10 MB each."""

    def __init__(self, runtime="openvino-fp32", fixed_ms=1.0, error=0.0):
        self.runtime, self._fixed_ms, self._error = runtime, fixed_ms, error
        self.lengths, self.made = (), set()

    def fix_lengths(self, lengths):
        self.lengths = tuple(lengths)

    def rss_bytes(self):
        return 100_000_000 + 10_000_000 * len(self.made)

    def time_ms(self, row):
        length = padded_length(TOKENS[row], LONGEST)
        if length not in self.lengths:
            return 2.0
        self.made.add(length)
        return self._fixed_ms

    def logits(self, out, rows, single):
        assert single
        return REFERENCE[rows] + np.float32(self._error)


def fit(served, tmp_path, allowed_mb, size_bytes=1_000_000, inputs=("input_ids", "attention_mask"), **options):
    context = SimpleNamespace(
        config=SimpleNamespace(measurement=SimpleNamespace(fixed_length_mb=allowed_mb)),
        task=SimpleNamespace(
            kind=CLASSIFICATION,
            evaluation=Examples(tuple("abcd"), None, np.array([0, 1, 0, 1])),
        ),
        reporter=options.pop("reporter", None) or SilentReporter(),
    )
    artifact = SimpleNamespace(size_bytes=size_bytes, manifest={"inputs": list(inputs), "max_length": LONGEST})
    lengths = fit_lengths(context, served, artifact, TOKENS, REFERENCE, tmp_path, **options)
    found = json.loads((tmp_path / _fixed_lengths.FILE).read_text())
    assert found["lengths"] == lengths
    return found


@pytest.mark.parametrize(
    ("tokens", "length"), [(1, 8), (8, 8), (9, 16), (64, 64), (65, 80), (128, 128), (129, 160), (257, 320), (512, 512)]
)
def test_lengths_are_padded_in_steps_that_grow(tokens, length):
    assert padded_length(tokens, 512) == length


@pytest.mark.parametrize(("tokens", "length"), [(60, 64), (66, 77), (77, 77)])
def test_no_length_is_beyond_the_longest(tokens, length):
    assert padded_length(tokens, 77) == length


def test_padding_is_never_a_quarter_of_what_is_computed_above_the_finest_step():
    for tokens in range(33, 2048):
        assert 0 <= padded_length(tokens, 2048) - tokens < 0.25 * tokens


@pytest.mark.parametrize(
    ("allowed_mb", "lengths", "ms_p50"), [(10, [16], 1.5), (25, [8, 16], 1.0), (256, [8, 16, 32], 1.0)]
)
def test_the_commonest_lengths_that_fit_are_taken(tmp_path, allowed_mb, lengths, ms_p50):
    served = FakeServed()
    found = fit(served, tmp_path, allowed_mb)
    assert found["lengths"] == lengths
    assert served.lengths == tuple(lengths)
    assert found["mb_each"] == 10.0
    assert served.made == set(lengths), "all are compiled before memory is read"
    assert (found["any_length_ms_p50"], found["fixed_length_ms_p50"]) == (2.0, ms_p50)


@pytest.mark.parametrize(
    "case",
    [
        {"allowed_mb": 0},
        {"allowed_mb": 256, "size_bytes": 269_000_000},
        {"allowed_mb": 256, "inputs": ("input_ids",)},
        {"allowed_mb": 256, "served": FakeServed("torch-fp32")},
    ],
    ids=["not allowed", "weights alone are too large", "no attention mask", "a runtime that has none"],
)
def test_none_is_made(tmp_path, case):
    served = case.pop("served", None) or FakeServed()
    assert fit(served, tmp_path, **case) == {"lengths": []}
    assert served.lengths == ()


@pytest.mark.parametrize(
    ("served", "allowed_mb"),
    [(FakeServed(error=1.0), 256), (FakeServed(), 9)],
    ids=["other logits", "one does not fit"],
)
def test_none_is_kept(tmp_path, served, allowed_mb):
    found = fit(served, tmp_path, allowed_mb)
    assert found["lengths"] == []
    assert found["mb_each"] == 10.0
    assert served.lengths == ()


def test_files_of_one_network_are_judged_together(tmp_path):
    """A disturbance of one file's passes does not leave it alone without; what has no graphs has no say."""
    fast, disturbed, slow = (fit(FakeServed(fixed_ms=ms), tmp_path, 256) for ms in (1.0, 2.2, 5.0))
    none, other_logits = fit(FakeServed(), tmp_path, 0), fit(FakeServed(fixed_ms=9.0, error=1.0), tmp_path, 256)
    kept = keep_where_faster([fast, none, disturbed, other_logits])
    assert [one["lengths"] for one in kept] == [[8, 16, 32], [], [8, 16, 32], []]
    assert [one.get("pooled_ratio") for one in kept] == [pytest.approx(0.55**0.5), None, pytest.approx(0.55**0.5), None]
    assert [one["lengths"] for one in keep_where_faster([fast, slow])] == [[], []]
    assert keep_where_faster([disturbed])[0] == {**disturbed, "lengths": [], "pooled_ratio": pytest.approx(1.1)}
    hardly = fit(FakeServed(fixed_ms=1.92), tmp_path, 256)
    assert keep_where_faster([hardly])[0]["lengths"] == [], "4 % are not worth the memory"
    assert disturbed["lengths"] == [8, 16, 32], "what the stage wrote stays as it was"
    assert keep_where_faster([none]) == [none]


def test_a_process_that_fails_over_it_costs_the_graphs_alone(tmp_path):
    class Failing(FakeServed):
        def time_ms(self, row):
            raise ServingEnded("the openvino-fp32 process was killed")

    assert fit(Failing(), tmp_path, 256) == {"lengths": [], "error": "the openvino-fp32 process was killed"}
    (tmp_path / _fixed_lengths.FILE).unlink()
    with pytest.raises(ServingEnded):
        fit(Failing(), tmp_path, 256, last_try=False)
    assert not (tmp_path / _fixed_lengths.FILE).exists()


def test_memory_that_was_free_before_does_not_make_graphs_look_small(tmp_path):
    class Reusing(FakeServed):
        def rss_bytes(self):
            return 100_000_000

    found = fit(Reusing(), tmp_path, 25, size_bytes=12_000_000)
    assert (found["lengths"], found["mb_each"]) == ([8, 16], 12.0)


def test_a_process_that_was_ended_by_a_cancel_says_nothing_of_the_graphs(tmp_path):
    class Asked(SilentReporter):
        def check_cancelled(self):
            raise Cancelled("the run was asked to stop")

    class Ended(FakeServed):
        def time_ms(self, row):
            raise ServingEnded("the process was ended by SIGTERM")

    with pytest.raises(Cancelled):
        fit(Ended(), tmp_path, 256, reporter=Asked())
    assert not (tmp_path / _fixed_lengths.FILE).exists()
    assert "SIGTERM" in fit(Ended(), tmp_path, 256)["error"]
