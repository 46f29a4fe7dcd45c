"""Estimates are held against what runs took, and corrected by it."""

from __future__ import annotations

import json

import pytest

from dqf.config import RunConfig
from dqf.environment import cpu_name
from dqf.estimate import MEASURE, PARTS, QUANTIZE, STUDENTS, TEACHER, Estimate
from dqf.estimate_history import correction_from, read_past, write_estimate
from dqf.jobs import protocol
from dqf.room import memory_error, memory_limit
from dqf.settings import load_settings

PLAIN = Estimate({TEACHER: 100.0, STUDENTS: 50.0, QUANTIZE: 10.0, MEASURE: 40.0}, 4_000_000_000, 1, (), ())


def add_run(settings, times: float, *, cached: tuple[str, ...] = (), threads: int | None = None, peak: float = 6e9):
    """Write a run whose parts all took `times` what was estimated, `cached` ones but for a moment."""
    run_dir = protocol.create_run(settings.runs_dir, {}, "past")
    write_estimate(run_dir, PLAIN, threads or settings.threads)
    stages = []
    for part, names in PARTS.items():
        hit = part in cached
        seconds = 0.01 if hit else PLAIN.parts[part] * times / len(names)
        stages += [
            {
                "id": f"{name}:student-kd" if name in ("quantize", "export", "verify", "evaluate") else name,
                "cache": "hit" if hit else "miss",
                "seconds": seconds,
                "metrics": {"peak_memory_bytes": peak} if name == "teacher" else {},
            }
            for name in names
        ]
    (run_dir / "result.json").write_text(json.dumps({"stages": stages}))
    return run_dir


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path / "results")


def test_without_past_runs_nothing_is_corrected(settings):
    correction = correction_from(read_past(settings))
    assert correction.apply(PLAIN) == PLAIN
    assert (correction.runs, correction.error_before) == (0, None)


def test_one_run_moves_the_factors_half_the_way(settings):
    add_run(settings, 4.0)
    correction = correction_from(read_past(settings))
    assert correction.runs == 1
    assert {part: correction.factors[part] for part in PARTS} == pytest.approx(dict.fromkeys(PARTS, 2.0))
    assert correction.apply(PLAIN).seconds == pytest.approx(400)
    assert correction.apply(PLAIN).memory_bytes == pytest.approx(4e9 * 1.5**0.5)


def test_many_runs_agree_and_the_error_after_is_smaller_than_before(settings):
    for times in (2.7, 3.0, 3.3, 3.0, 2.9):
        add_run(settings, times)
    correction = correction_from(read_past(settings))
    assert correction.factors[TEACHER] == pytest.approx(2.95, abs=0.01)
    assert correction.error_before == pytest.approx(3.0)
    assert correction.error_after == pytest.approx(1.0, abs=0.12)


def test_only_what_was_computed_on_this_machine_counts(settings):
    add_run(settings, 2.0, cached=(TEACHER,))
    add_run(settings, 9.0, threads=settings.threads + 1)
    add_run(settings, 20.0)  # disturbed: an overloaded machine says nothing about the next run
    (broken,) = {add_run(settings, 2.0)}
    (broken / "result.json").write_text("{")
    past = read_past(settings)
    assert len(past) == 1
    assert TEACHER not in past[0].seconds
    assert past[0].memory is None
    assert past[0].seconds[STUDENTS] == pytest.approx((50, 100))


def test_estimates_of_another_machine_are_left_alone(settings):
    run_dir = add_run(settings, 2.0)
    data = protocol.read_json(run_dir / "estimate.json")
    assert data["machine"]["cpu"] == cpu_name()
    protocol.write_json(run_dir / "estimate.json", {**data, "machine": {**data["machine"], "cpu": "abacus"}})
    assert read_past(settings) == []


def test_what_does_not_fit_is_told_with_the_nearest_setting_that_does():
    def takes(config):
        lora = config.teacher.tuning == "lora"
        batch = max(config.teacher.batch_size, config.student.batch_size)
        return Estimate({}, (1 if lora else 3) * 1_000_000_000 + batch * 100_000_000, 0, (), ())

    config = RunConfig.from_dict({"teacher": {"batch_size": 32}, "student": {"batch_size": 16}})
    assert memory_error(config, takes, 6_200_000_000) == ""
    message = memory_error(config, takes, 5_000_000_000)
    assert "6.2 GB, and there are 5.0 GB" in message
    assert "set `teacher.batch_size` to 16 (about 4.6 GB)." in message
    assert "`teacher.batch_size` to 8 and `student.batch_size` to 8" in memory_error(config, takes, 4_000_000_000)
    assert "`teacher.tuning` to lora" in memory_error(config, takes, 2_000_000_000)
    assert memory_error(config, takes, 500_000_000).endswith("no batch size fits.")
    assert memory_limit() > 1e8
