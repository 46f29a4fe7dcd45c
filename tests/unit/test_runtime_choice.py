import json
import math

import pytest

from dqf.runtimes._select import candidates
from dqf.stages._cache import Output
from dqf.stages._choice import choose, choose_together, pooled_latencies
from dqf.stages.verify import FILE, TIMED_ROUNDS, _time, far_slower, worth_starting


class Fake:
    def __init__(self, packed):
        self.is_packed, self.has_graph, self.has_int8_scales = packed, True, packed


def row(runtime, precision, ms, faithful=True):
    return {"runtime": runtime, "precision": precision, "latency_ms_p50": ms, "faithful": faithful}


def test_the_fastest_faithful_runtime_wins():
    rows = [row("a", "FP32", 9.0), row("b", "BF16", 5.0), row("c", "INT8", 1.0, faithful=False)]
    assert choose(rows)["runtime"] == "b"


def test_a_less_exact_runtime_must_be_clearly_faster():
    assert choose([row("a", "BF16", 1.05), row("b", "INT8", 1.0)])["runtime"] == "a"
    assert choose([row("a", "BF16", 1.2), row("b", "INT8", 1.0)])["runtime"] == "b"


def test_one_disturbed_measurement_does_not_decide_for_its_bit_width():
    """Figures of a run that ships: its 8-bit students were served by FP32, half as fast as INT8 was in the end."""
    measured = {8: (3.72, 4.27, 3.54, 3.44), 4: (7.62, 4.65, 5.16, 4.40), 3: (3.84, 3.59, 4.10, 3.17)}
    tables = {
        bits: [
            row("fp32", "FP32", ms[0]),
            row("int8", "INT8", ms[1]),
            row("packed", "BF16", ms[2]),
            row("w8a8", "INT8", ms[3]),
        ]
        for bits, ms in measured.items()
    }
    assert choose(tables[8])["runtime"] == "fp32"
    chosen = choose_together(tables)
    assert {bits: one["runtime"] for bits, one in chosen.items()} == dict.fromkeys(measured, "w8a8")
    assert chosen[8]["pooled_latency"] == 1.0
    ratio = math.prod(ms[0] / ms[3] for ms in measured.values()) ** (1 / 3)
    assert tables[8][0]["pooled_latency"] == pytest.approx(ratio)


def test_a_runtime_that_is_not_faithful_for_a_file_does_not_serve_it_but_others():
    tables = {
        8: [row("packed", "BF16", 2.0), row("w8a8", "INT8", 1.0)],
        4: [row("packed", "BF16", 20.0), row("w8a8", "INT8", 10.0)],
        2: [row("packed", "BF16", 2.0), row("w8a8", "INT8", 1.0, faithful=False)],
    }
    assert pooled_latencies(list(tables.values())) == pytest.approx({"packed": 2.0, "w8a8": 1.0})
    assert [one["runtime"] for one in choose_together(tables).values()] == ["w8a8", "w8a8", "packed"]
    assert "pooled_latency" not in tables[2][1]


def test_a_runtime_missing_from_a_table_is_judged_where_it_was_timed():
    tables = [
        [row("a", "INT8", 1.0), row("b", "INT8", 1.2)],
        [row("a", "INT8", 5.0), row("b", "INT8", 6.0)],
        [row("b", "INT8", 3.0), row("c", "INT8", 3.3)],  # the fastest here is not the fastest
    ]
    assert pooled_latencies(tables) == pytest.approx({"a": 1.0, "b": 1.2, "c": 1.32})


def test_what_was_far_slower_is_told_from_what_was_a_little_slower_or_failed(tmp_path):
    failed = {"runtime": "d", "precision": "FP32", "faithful": False, "error": "no"}
    rows = [row("a", "BF16", 2.0), row("b", "FP32", 5.9), row("c", "FP32", 6.1, faithful=False), failed]
    rows.append(row("e", "INT8", 0.1, faithful=False))
    rows = [{**one, "trial_ms_p50": one["latency_ms_p50"]} if "latency_ms_p50" in one else one for one in rows]
    rows[0]["latency_ms_p50"] = 2.4  # timed later, on other examples: the others' first passes are not held against it
    (tmp_path / FILE).write_text(json.dumps({"candidates": rows}))
    assert far_slower(Output("", tmp_path, {}, "miss")) == {"c"}


def test_candidates_are_timed_in_turns_of_twenty_and_each_begins_in_turn():
    asked = []

    class Timed:
        def __init__(self, name, ms):
            self.name, self.ms = name, ms

        def time_ms(self, at):
            asked.append((self.name, at))
            return self.ms

    rows = [row("a", "FP32", 9.0), row("b", "BF16", 9.0), row("gone", "FP32", 9.0)]
    _time(rows, {"a": Timed("a", 3.0), "b": Timed("b", 2.0)}, 32)
    assert [one["latency_ms_p50"] for one in rows] == [3.0, 2.0, 9.0]
    order = [name for begin in range(0, TIMED_ROUNDS, 20) for name in ("ab", "ba")[begin // 20 % 2]]
    assert [name for name, _ in asked] == [name for name in order for _ in range(20)]
    for name in "ab":
        assert [at for one, at in asked if one == name] == [at % 32 for at in range(TIMED_ROUNDS)]


def test_far_slower_ones_are_not_started_but_the_preferred_and_the_last_ones_are():
    entries = candidates(Fake(True), "cpu", "auto")
    names = {entry.name for entry in entries}
    slow = {"torch-fp32", "openvino-packed"}
    assert {one.name for one in worth_starting(entries, slow, None)} == names - slow
    assert {one.name for one in worth_starting(entries, slow, "openvino-packed")} == names - {"torch-fp32"}
    assert worth_starting(entries, names, None) == entries


@pytest.mark.parametrize(
    ("wanted", "packed", "expected"),
    [
        ("openvino-bf16", False, ["openvino-bf16"]),
        ("openvino-bf16", True, ["openvino-packed"]),
        ("openvino-int8", True, ["openvino-int8"]),
        ("openvino-fp32", True, ["openvino-fp32"]),
        ("torch-packed", False, ["torch-bf16"]),
    ],
)
def test_a_wanted_runtime_stands_for_its_nearest_relative(wanted, packed, expected):
    assert [entry.name for entry in candidates(Fake(packed), "cpu", wanted)] == expected


def test_auto_tries_every_runtime_that_can_load_the_form():
    for packed in (False, True):
        names = [entry.name for entry in candidates(Fake(packed), "cpu", "auto")]
        assert len(names) >= 4
        assert {name.split("-")[0] for name in names} == {"openvino", "torch"}
    uncalibrated = Fake(True)
    uncalibrated.has_int8_scales = False
    assert "openvino-w8a8" in names
    assert "openvino-w8a8" not in [entry.name for entry in candidates(uncalibrated, "cpu", "auto")]
    assert all(entry.name.startswith("torch") for entry in candidates(Fake(False), "cuda", "auto"))
