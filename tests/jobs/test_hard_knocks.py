"""What a hostile day does to runs: docs/reliability.md lists it all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from dqf.errors import UserError
from dqf.jobs import actions, protocol, views
from dqf.jobs.protocol import EventLog
from dqf.jobs.views import read_run
from dqf.settings import load_settings
from tests.jobs.conftest import wait_for, wait_for_state
from tests.support.example_runs import write_example_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("state", protocol.STATES)
def test_cancel_in_every_state_twice(settings, state):
    run = write_example_run(settings.runs_dir, state=state, n=20)
    if state in (protocol.RUNNING, protocol.CANCELLING):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        protocol.write_json(
            run / "worker.json",
            {"pid": child.pid, "create_time": psutil.Process(child.pid).create_time(), "started": 1.0},
        )
    before = protocol.run_state(run)
    first, second = (actions.cancel(settings, run.name) for _ in range(2))
    if before not in protocol.LIVE_STATES:
        assert (first, second) == (before, before)
        assert not (run / "cancel").exists() or before == protocol.CANCELLED
    elif before == protocol.QUEUED:
        assert (first, second) == (protocol.CANCELLED, protocol.CANCELLED)
    else:
        assert {first, second} <= {protocol.CANCELLING, protocol.CANCELLED}
        if before == protocol.CANCELLING:  # asked before: the supervisor's grace time runs, no second signal
            child.kill()
        child.wait(timeout=10)
        assert protocol.run_state(run) == protocol.CANCELLED
        assert actions.cancel(settings, run.name) == protocol.CANCELLED


@pytest.mark.parametrize(
    ("mode", "words"),
    [("limit", ("not enough memory", "smaller batch size")), ("full", ("disk is full", "resume"))],
)
def test_a_worker_at_a_real_limit_fails_with_reason_and_advice_and_the_queue_goes_on(
    supervisor, settings, launch, mode, words
):
    run = launch(mode=mode)
    wait_for_state(run, protocol.FAILED)
    assert all(word in read_run(run).error for word in words)
    after = launch(steps=1)
    wait_for_state(after, protocol.SUCCEEDED)
    assert supervisor.running


def test_a_worker_that_hangs_without_heartbeat_is_told_and_can_be_cancelled(supervisor, settings, launch, monkeypatch):
    monkeypatch.setattr(views, "STALLED_AFTER_S", 1.0)
    run = launch(steps=500)
    wait_for_state(run, protocol.RUNNING)
    wait_for(lambda: read_run(run).current_stage)
    worker = protocol.read_worker(run)
    os.kill(worker.pid, signal.SIGSTOP)
    wait_for(lambda: read_run(run).stalled, 20)
    actions.cancel(settings, run.name)
    wait_for_state(run, protocol.CANCELLED)
    wait_for(lambda: not worker.alive())


def test_a_worker_that_writes_garbage_events_is_read_to_its_end(supervisor, launch):
    run = launch(steps=3, mode="garbage")
    wait_for_state(run, protocol.SUCCEEDED)
    view = read_run(run)
    assert [stage.status for stage in view.stages] == ["done"] * 3


def test_a_clock_that_jumps_back_makes_no_negative_times_and_loses_no_event(tmp_path, monkeypatch):
    run = write_example_run(tmp_path, state=protocol.RUNNING, n=20)
    seen = len(list(protocol.read_events(run)))
    log = EventLog(run)
    for moment in (2_000_000_000.0, 1_000_000_000.0, 1_999_999_999.0, 0.0):
        monkeypatch.setattr(protocol.time, "time", lambda moment=moment: moment)
        log.append("stage_started", stage="evaluate")
        log.append("progress", stage="evaluate", step=1, total=4)
        log.append("stage_done", stage="evaluate")
    monkeypatch.undo()
    events = list(protocol.read_events(run))
    assert len(events) == seen + 12
    assert [event.seq for event in events] == list(range(len(events)))
    view = read_run(run)
    assert all(stage.seconds is None or stage.seconds >= 0 for stage in view.stages)
    assert view.state == protocol.RUNNING


TAKE = """
import os, sys
import duckdb
from dqf.errors import UserError
from dqf.jobs.supervisor import Supervisor
from dqf.settings import load_settings
from dqf.store import ingest
supervisor = Supervisor(load_settings(sys.argv[1]))
if os.geteuid() == 0:
    os.seteuid(65534)  # the administrator may write everywhere
try:
    supervisor.start()
except UserError as error:
    print(error)
    sys.exit(3)
"""


def test_a_results_folder_that_is_read_only_is_one_sentence():
    folder = Path(tempfile.mkdtemp(prefix="dqf-read-only-"))
    try:
        run = write_example_run(folder / "runs", n=20)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", TAKE, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 3, done.stderr
        assert "the results folder must be writable" in done.stdout
        assert done.stdout.count("\n") == 1
        assert read_run(run).state == protocol.SUCCEEDED
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_results_folder_that_is_a_file_is_one_sentence(tmp_path):
    from dqf.jobs.supervisor import Supervisor

    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="must be writable"):
        Supervisor(load_settings(tmp_path / "file")).start()
