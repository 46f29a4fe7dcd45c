"""In which order variants are asked for their times."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dqf.data.tasks import Examples
from dqf.progress import SilentReporter
from dqf.stages import benchmark

NAMES = ("teacher", "student", "small")


@pytest.fixture
def asked(monkeypatch):
    calls = []
    fixed = {}

    class Fake:
        def __init__(self, artifact, runtime, threads, device, log, reporter):
            self.name = artifact

        def encode(self, examples):
            calls.append((self.name, "encode"))

        def fix_lengths(self, lengths):
            fixed[self.name] = lengths

        def time_ms(self, row):
            calls.append((self.name, row))
            return 100.0 * NAMES.index(self.name) + row

        def close(self):
            calls.append((self.name, "close"))

    monkeypatch.setattr(benchmark, "Served", Fake)
    return calls, fixed


def context(samples):
    texts = tuple(f"text {i}" for i in range(samples))
    return SimpleNamespace(
        config=SimpleNamespace(measurement=SimpleNamespace(latency_samples=samples), seed=0),
        task=SimpleNamespace(evaluation=Examples(texts, None, np.zeros(samples))),
        threads=1,
        device=SimpleNamespace(type="cpu"),
        reporter=SilentReporter(),
    )


def test_each_variant_answers_the_same_twenty_before_the_next_and_each_begins_in_turn(asked, tmp_path):
    asked, fixed = asked
    lengths = {"student": (8, 16), "small": (8,)}
    timed = {name: benchmark.Timed(name, "runtime", lengths.get(name, ())) for name in NAMES}
    benchmark._time(context(50), timed, tmp_path, batches=False)
    assert fixed == lengths
    assert [name for name, what in asked if what == "close"] == list(NAMES)
    timed = [one for one in asked if one[1] not in ("encode", "close")]
    warm_up = 50 * len(NAMES)
    assert [name for name, _ in timed[:warm_up]] == [name for name in NAMES for _ in range(50)]
    expected = [
        (name, row)
        for rows, order in (
            (range(20), NAMES),
            (range(20, 40), (*NAMES[1:], NAMES[0])),
            (range(40, 50), (NAMES[2], *NAMES[:2])),
        )
        for name in order
        for row in rows
    ]
    assert timed[warm_up:] == expected
    kept = pd.read_parquet(tmp_path / benchmark.TIMES)
    for at, name in enumerate(NAMES):
        assert kept[name].tolist() == [100.0 * at + row for row in range(50)]
