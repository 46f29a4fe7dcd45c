import time

import pytest

from dqf.errors import Cancelled
from dqf.jobs import protocol, reporter
from dqf.jobs.protocol import EventLog
from dqf.jobs.reporter import FileReporter, Stop


@pytest.fixture
def run_dir(tmp_path):
    return protocol.create_run(tmp_path, {}, "x")


def events(run_dir, kind):
    return [event for event in protocol.read_events(run_dir) if event.kind == kind]


def test_progress_is_throttled_but_the_last_is_never_lost(run_dir):
    report = FileReporter(run_dir, EventLog(run_dir))
    report.stage_started("teacher")
    for step in range(1, 1001):
        report.progress(step, 1001, {"loss": 1 / step})
    report.stage_done("teacher", "miss", 1.0, {"accuracy": 0.9})
    progress = events(run_dir, "progress")
    assert 2 <= len(progress) < 10
    assert progress[-1].step == 1000
    assert progress[-1].metrics == {"loss": 1 / 1000}
    assert events(run_dir, "stage_done")[0].metrics == {"accuracy": 0.9, "seconds": 1.0, "cache": "miss"}


def test_remaining_time_follows_the_step_rate_of_this_attempt(run_dir, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(reporter.time, "monotonic", lambda: float(next(clock)))
    report = FileReporter(run_dir, EventLog(run_dir))
    report.stage_started("teacher")
    report.progress(500, 600)  # resumed at step 500
    for step in (501, 502, 503):
        report.progress(step, 600)
    etas = [event.eta_s for event in events(run_dir, "progress")]
    assert etas[0] is None
    assert 90 <= etas[-1] <= 600


def test_flag_and_signal_make_the_next_call_raise(run_dir):
    stop = Stop()
    report = FileReporter(run_dir, EventLog(run_dir), stop=stop)
    report.progress(1, 2)
    protocol.request_cancel(run_dir)
    with pytest.raises(Cancelled):
        report.progress(2, 2)
    assert events(run_dir, "progress")[-1].step == 2
    (run_dir / "cancel").unlink()
    report.check_cancelled()
    stop.asked = True
    with pytest.raises(Cancelled):
        report.message("x")


def test_heartbeat_tells_of_life_during_long_work_and_ends_with_the_run(run_dir, monkeypatch):
    monkeypatch.setattr(reporter, "HEARTBEAT_INTERVAL_S", 0.1)
    with FileReporter(run_dir, EventLog(run_dir)) as report:
        time.sleep(0.5)
        report.terminal("succeeded", "")
        time.sleep(0.3)
    kinds = [event.kind for event in protocol.read_events(run_dir)]
    assert kinds.count("heartbeat") >= 2
    assert kinds[-1] == "terminal"


def test_metrics_that_json_cannot_hold_are_made_plain(run_dir):
    import numpy as np

    report = FileReporter(run_dir, EventLog(run_dir))
    report.progress(1, 1, {"loss": np.float32(0.5), "bad": float("nan"), "worse": np.float64("inf")})
    assert events(run_dir, "progress")[0].metrics == {"loss": 0.5, "bad": None, "worse": None}
