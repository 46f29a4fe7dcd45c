import math
from types import SimpleNamespace

import pytest

from dqf import pipeline
from dqf.config import RunConfig
from dqf.runtimes._select import candidates
from dqf.stages._choice import choose, pooled_latencies, with_pooled
from dqf.stages.verify import HOPELESS, TIMED_ROUNDS, _drop_hopeless, _far_behind, _time, far_slower, worth_starting


class Fake:
    def __init__(self, packed):
        self.is_packed, self.has_graph, self.has_int8_scales = packed, True, packed


def row(runtime, precision, ms, faithful=True, error=""):
    return {"runtime": runtime, "precision": precision, "latency_ms_p50": ms, "faithful": faithful, "error": error}


def chosen(rows, *others):
    return choose(rows, pooled_latencies([rows, *others]))["runtime"]


def test_the_fastest_faithful_runtime_wins():
    assert chosen([row("a", "FP32", 9.0), row("b", "BF16", 5.0), row("c", "INT8", 1.0, faithful=False)]) == "b"


def test_a_less_exact_runtime_must_be_clearly_faster():
    assert chosen([row("a", "BF16", 1.05), row("b", "INT8", 1.0)]) == "a"
    assert chosen([row("a", "BF16", 1.2), row("b", "INT8", 1.0)]) == "b"


def test_first_passes_of_one_text_do_not_compete_with_passes_in_turns():
    """FP32 served 8 bits of a run that ships: 3.72 ms, likely of its first passes, beside INT8's 3.44 ms in turns."""
    rows = [row("fp32", "FP32", 3.72, error="not timed further: 2.4 times as slow"), row("w8a8", "INT8", 3.44)]
    assert chosen(rows) == "w8a8"
    assert chosen(rows, rows, rows) == "w8a8"
    assert pooled_latencies([rows]).keys() == {"w8a8"}


def test_one_disturbed_measurement_does_not_decide_for_its_bit_width():
    tables = {
        bits: [row("packed", "BF16", packed), row("w8a8", "INT8", w8a8)]
        for bits, packed, w8a8 in ((8, 3.5, 3.4), (4, 5.2, 4.4), (3, 4.1, 3.2))
    }
    assert chosen(tables[8]) == "packed"
    pooled = pooled_latencies(list(tables.values()))
    assert {choose(rows, pooled)["runtime"] for rows in tables.values()} == {"w8a8"}
    ratio = math.prod(rows[0]["latency_ms_p50"] / rows[1]["latency_ms_p50"] for rows in tables.values()) ** (1 / 3)
    for rows in tables.values():
        assert [one["pooled_latency"] for one in with_pooled(rows, pooled)] == pytest.approx([ratio, 1.0])


def test_a_runtime_that_is_not_faithful_for_a_file_does_not_serve_it_but_others():
    tables = [
        [row("packed", "BF16", 2.0), row("w8a8", "INT8", 1.0)],
        [row("packed", "BF16", 20.0), row("w8a8", "INT8", 10.0)],
        [row("packed", "BF16", 2.0), row("w8a8", "INT8", 1.0, faithful=False)],
    ]
    pooled = pooled_latencies(tables)
    assert pooled["packed"] / pooled["w8a8"] == pytest.approx(2.0)
    assert [choose(rows, pooled)["runtime"] for rows in tables] == ["w8a8", "w8a8", "packed"]
    assert with_pooled(tables[2], pooled) == tables[2], "nothing competes with it there"


def test_a_runtime_missing_from_a_table_is_judged_where_it_was_timed():
    tables = [
        [row("a", "INT8", 1.0), row("b", "INT8", 1.2)],
        [row("a", "INT8", 5.0), row("b", "INT8", 6.0)],
        [row("b", "INT8", 3.0), row("c", "INT8", 3.3)],
        [row("apart", "FP32", 1.0)],
    ]
    pooled = pooled_latencies(tables)
    assert [pooled[name] / pooled["a"] for name in "bc"] == pytest.approx([1.2, 1.32])
    assert [one["pooled_latency"] for one in with_pooled(tables[2], pooled)] == pytest.approx([1.0, 1.1])
    assert chosen(tables[3], *tables[:3]) == "apart"


class Timed:
    """A process whose passes take these ms, one after the other, the last again and again."""

    def __init__(self, *ms, asked=None, name=""):
        self.ms, self.asked, self.name, self.closed = list(ms), asked if asked is not None else [], name, False

    def time_ms(self, at):
        self.asked.append((self.name, at))
        return self.ms.pop(0) if len(self.ms) > 1 else self.ms[0]

    def close(self):
        self.closed = True


def tried(runtime, ms, faithful=True):
    return {**row(runtime, "FP32", ms, faithful), "trial_ms": ms}


def test_what_a_disturbance_slowed_down_is_timed_again_before_it_is_ruled_out():
    best, disturbed, slow = tried("a", 1.0), tried("b", 9.0), tried("c", 9.0)
    served = {"a": Timed(1.1), "b": Timed(1.4), "c": Timed(3.0)}
    assert _far_behind(disturbed, [best], served) == ""
    assert (disturbed["trial_ms"], best["trial_ms"]) == (1.4, 1.0)
    assert _far_behind(slow, [best, disturbed], served) == "3.0 times as slow as a in its first passes"
    before = dict(served)
    _drop_hopeless(rows := [best, disturbed, slow], served)
    assert list(served) == ["a", "b"]
    assert before["c"].closed
    assert [one["error"] for one in rows[:2]] == ["", ""]
    assert slow["error"] == "not timed further: 3.0 times as slow as a in its first passes"
    assert HOPELESS < 3.0


def test_a_run_judges_its_bit_widths_together_and_the_other_student_begins_with_what_was_chosen(monkeypatch):
    """Alone 8 bits would be served by FP32: the choice is not each file's own."""
    asked, both = [], (("fp32", "FP32"), ("w8a8", "INT8"))
    ms = {"8bit": (3.4, 3.3), "4bit": (7.6, 4.4), "": (1.0, 2.0)}

    def verify(context, one, source, prefer=None, slow=()):
        asked.append((one.variant_id, prefer))
        label = one.form.label if one.form else ""
        rows = [tried(name, time) | {"precision": kind} for (name, kind), time in zip(both, ms[label], strict=True)]
        if one.variant_id == "student-dqf-gptq-4bit":  # INT8 is not faithful for it
            rows = [row | {"faithful": row["runtime"] == "fp32"} for row in rows]
        elif prefer:
            rows = [row for row in rows if row["runtime"] == prefer]
        return pipeline.Verified(None, 16.0, {"candidates": rows})

    monkeypatch.setattr(pipeline, "_verify", verify)
    config = RunConfig.from_dict({"quantization": {"bits": [8, 4]}})
    made = dict.fromkeys(one.variant_id for one in pipeline.planned_variants(config))
    verified = pipeline._verify_all(SimpleNamespace(config=config), made)
    assert {name: one.runtime for name, one in verified.items()} == {
        "teacher": "fp32",
        "student-ft": "fp32",
        "student-kd": "fp32",
        "student-ptq-gptq-8bit": "w8a8",
        "student-ptq-gptq-4bit": "w8a8",
        "student-dqf-gptq-8bit": "w8a8",
        "student-dqf-gptq-4bit": "fp32",
    }
    assert asked[:4] == [
        (name, None) for name in ("teacher", "student-ft", "student-ptq-gptq-8bit", "student-ptq-gptq-4bit")
    ]
    assert asked[4:] == [("student-kd", "fp32"), ("student-dqf-gptq-8bit", "w8a8"), ("student-dqf-gptq-4bit", "w8a8")]
    ratio = (3.4 * 7.6 / 3.3 / 4.4) ** 0.5
    assert verified["student-ptq-gptq-8bit"].candidates[0]["pooled_latency"] == pytest.approx(ratio)


def test_what_was_far_slower_is_told_from_what_was_a_little_slower_or_failed():
    failed = {"runtime": "d", "precision": "FP32", "faithful": False, "error": "no"}
    rows = [tried("a", 2.0), tried("b", 5.9), tried("c", 6.1, faithful=False), failed, tried("e", 0.1, faithful=False)]
    rows[0]["latency_ms_p50"] = 2.4  # timed later, on other examples: the others' first passes are not held against it
    assert far_slower(rows) == {"c"}


def test_candidates_are_timed_in_turns_of_twenty_and_each_begins_in_turn():
    asked = []
    rows = [row("a", "FP32", 9.0), row("b", "BF16", 9.0), row("gone", "FP32", 9.0)]
    _time(rows, {"a": Timed(3.0, asked=asked, name="a"), "b": Timed(2.0, asked=asked, name="b")}, 32)
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
