import os
import signal
import time

import psutil
import pytest

from dqf.errors import UserError
from dqf.jobs import actions, protocol
from dqf.jobs.executor import LocalExecutor
from dqf.jobs.supervisor import Supervisor, ensure_supervisor
from dqf.jobs.views import read_run
from dqf.store import queries
from dqf.sweeps.directory import Sweep, making_ahead
from tests.jobs.conftest import wait_for, wait_for_state
from tests.support.fake_worker import STAGES


def stored_state(supervisor, run_dir):
    frame = queries.runs(supervisor.store)
    return dict(zip(frame.run_id, frame.state, strict=True)).get(run_dir.name)


def test_queued_run_succeeds_and_reaches_the_store(supervisor, launch):
    run_dir = launch()
    wait_for(lambda: stored_state(supervisor, run_dir) == "succeeded")
    view = read_run(run_dir)
    assert [stage.status for stage in view.stages] == ["done"] * 3
    assert view.curves["teacher"][-1][0] == 5


def test_kill_of_the_worker_is_seen_and_resume_succeeds(supervisor, settings, launch):
    run_dir = launch(steps=25)
    wait_for(lambda: (run_dir / "teacher.done").exists())
    worker = protocol.read_worker(run_dir)
    os.kill(worker.pid, signal.SIGKILL)
    begun = time.monotonic()
    wait_for(lambda: stored_state(supervisor, run_dir) == "interrupted", 5)
    assert time.monotonic() - begun < 5
    assert "resume" in read_run(run_dir).error
    actions.resume(settings, run_dir.name)
    wait_for(lambda: stored_state(supervisor, run_dir) == "succeeded")
    with supervisor.store.cursor() as cursor:
        cached = cursor.execute("SELECT cache FROM stages WHERE run_id = ? ORDER BY position", [run_dir.name])
        assert cached.fetchall() == [("hit",), ("miss",), ("miss",)]


def test_a_run_that_cannot_be_started_nor_marked_is_told_of_once(supervisor, monkeypatch, caplog):
    """As one of another user: the queue looks at it twice a second."""

    def refused(*_):
        raise PermissionError("not yours")

    monkeypatch.setattr(supervisor._executor, "start", refused)
    monkeypatch.setattr("dqf.jobs.supervisor.record_start_failure", refused)
    run_dir = supervisor.settings.runs_dir / "20260101-000000-theirs-0000"
    assert [supervisor._start(run_dir) for _ in range(3)] == [False] * 3
    assert [record.message for record in caplog.records if run_dir.name in record.message] == [
        f"the worker of run {run_dir.name} could not be started",
        f"the failed start of run {run_dir.name} could not be recorded",
    ]


def test_killed_worker_leaves_no_orphans(supervisor, launch):
    run_dir = launch(steps=200, mode="child")
    child = psutil.Process(int(wait_for(lambda: _text(run_dir / "pids"))))
    os.kill(protocol.read_worker(run_dir).pid, signal.SIGKILL)
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_cancel_running_run_and_cancel_it_twice(supervisor, settings, launch):
    run_dir = launch(steps=500)
    wait_for_state(run_dir, "running")
    wait_for(lambda: read_run(run_dir).current_stage)
    assert actions.cancel(settings, run_dir.name) in ("cancelling", "cancelled")
    actions.cancel(settings, run_dir.name)
    wait_for(lambda: stored_state(supervisor, run_dir) == "cancelled")
    assert protocol.last_terminal(run_dir).data["state"] == "cancelled"
    assert actions.cancel(settings, run_dir.name) == "cancelled"
    actions.resume(settings, run_dir.name)
    wait_for_state(run_dir, "running")
    actions.cancel(settings, run_dir.name)
    wait_for_state(run_dir, "cancelled")


def test_cancelled_run_gives_way_to_the_next(supervisor, settings, launch):
    first, second = launch(steps=500), launch(steps=2)
    wait_for_state(first, "running")
    actions.cancel(settings, first.name)
    wait_for_state(second, "succeeded")


def test_deaf_worker_and_its_children_are_killed_after_the_grace_time(supervisor, settings, launch):
    run_dir = launch(mode="deaf")
    child = int(wait_for(lambda: _text(run_dir / "pids")))
    actions.cancel(settings, run_dir.name)
    wait_for_state(run_dir, "cancelled")
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_worker_that_hangs_after_its_result_is_ended(supervisor, launch):
    run_dir = launch(steps=2, mode="hang")
    wait_for_state(run_dir, "succeeded")
    wait_for(lambda: not protocol.read_worker(run_dir).alive())
    assert protocol.run_state(run_dir) == "succeeded"


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("refuse", "`group_size` must divide 770: got 128."),
        ("crash", "KeyError: 'weights' (the log has the details)."),
        ("memory", "there was not enough memory"),
        ("noresult", "ended without a result"),
    ],
)
def test_failed_run_says_why_in_one_sentence(supervisor, launch, mode, error):
    run_dir = launch(mode=mode)
    wait_for_state(run_dir, "failed")
    assert error in read_run(run_dir).error
    assert ("Traceback" in (run_dir / "worker.log").read_text()) == (mode in ("crash", "memory"))


def test_worker_that_dies_at_once_is_not_started_again(supervisor, launch):
    run_dir = launch(mode="die")
    wait_for_state(run_dir, "interrupted")
    time.sleep(1.2)
    order = (supervisor.settings.results_dir / "order.txt").read_text()
    assert order.count(run_dir.name) == 1


def test_a_run_waits_while_a_sweep_makes_models_ahead(settings, supervisor, launch):
    """Their training would spoil its timings, and they are no runs yet."""
    folder = settings.results_dir / "sweeps" / "mine"
    folder.mkdir(parents=True)
    with making_ahead(Sweep(folder, None, [], "", settings.runs_dir)):
        run_dir = launch(steps=0)
        time.sleep(1.2)
        assert protocol.run_state(run_dir) == "queued"
    wait_for_state(run_dir, "succeeded")


def test_twenty_queued_runs_run_one_at_a_time_in_order(settings, launch):
    runs = [launch(steps=0) for _ in range(20)]
    executor = LocalExecutor(settings, ("sh", "-c", _QUICK_WORKER, str(settings.results_dir)), grace_s=1.0)
    supervisor = Supervisor(settings, executor)
    supervisor.start()
    try:
        for _ in range(400):
            if protocol.run_state(runs[-1]) == "succeeded":
                break
            supervisor.wake()
            time.sleep(0.03)
    finally:
        supervisor.stop()
    lines = (settings.results_dir / "order.txt").read_text().splitlines()
    assert lines == [line for run in runs for line in (f"begin {run.name}", f"end {run.name}")]


_QUICK_WORKER = (
    # The result comes last: the next run may start as soon as it is there.
    'echo begin $(basename "$1") >> "$0/order.txt"; sleep 0.02; echo end $(basename "$1") >> "$0/order.txt";'
    ' echo {} > "$1/result.json"'
)


def test_garbage_directories_do_not_stop_the_queue(supervisor, settings, launch):
    odd = settings.runs_dir / "20200101-000000-odd-0000"
    odd.mkdir(parents=True)
    (odd / "config.json").write_text("[[[")
    (odd / "events.jsonl").write_bytes(b"\xff\x00\n{}\n")
    broken = settings.runs_dir / "20200101-000000-odd-0001"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "worker.log").mkdir()  # its worker cannot be started
    good = launch()
    wait_for_state(good, "succeeded", 15)
    assert protocol.run_state(odd) == "failed"
    assert "config.json" in read_run(odd).error
    assert protocol.run_state(broken) == "failed"
    assert "could not be started" in read_run(broken).error


def test_queue_waits_for_a_run_of_the_command_line(supervisor, settings, launch):
    other = launch(steps=1)
    wait_for_state(other, "succeeded")
    (other / "result.json").unlink()
    protocol.write_worker(other)  # this process plays the command line
    waiting = launch(steps=1)
    time.sleep(1.2)
    assert protocol.run_state(waiting) == "queued"
    assert actions.cancel(settings, waiting.name) == "cancelled"
    (other / "worker.json").unlink()
    (other / "config.json").unlink()


def test_retry_makes_a_new_run_of_the_same_config(supervisor, settings, launch):
    run_dir = launch(steps=1)
    wait_for_state(run_dir, "succeeded")
    with pytest.raises(UserError, match="can be resumed"):
        actions.resume(settings, run_dir.name)
    again = settings.runs_dir / actions.retry(settings, run_dir.name)
    assert protocol.read_json(again / "config.json") == protocol.read_json(run_dir / "config.json")
    wait_for_state(again, "succeeded")


@pytest.mark.parametrize("stage", STAGES)
def test_restarted_server_takes_up_the_live_worker_in_every_stage(settings, server, launch, stage):
    first = server()
    assert first.stdout.readline().strip() == b"ready"
    run_dir = launch(steps=60)
    wait_for(lambda: _is_in(run_dir, stage))
    worker = protocol.read_worker(run_dir)
    first.kill()
    first.wait()
    second = server()
    assert second.stdout.readline().strip() == b"ready"
    later = launch(steps=1)
    assert protocol.run_state(run_dir) == "running"
    assert protocol.run_state(later) == "queued"
    wait_for_state(run_dir, "succeeded", 15)
    assert protocol.read_worker(run_dir) == worker
    wait_for_state(later, "succeeded")


@pytest.mark.parametrize("stage", STAGES)
def test_server_and_worker_killed_at_once_in_every_stage_then_resumed(settings, server, launch, stage):
    first = server()
    assert first.stdout.readline().strip() == b"ready"
    run_dir = launch(steps=20)
    wait_for(lambda: _is_in(run_dir, stage))
    first.kill()
    os.killpg(protocol.read_worker(run_dir).pid, signal.SIGKILL)
    first.wait()
    second = server()
    assert second.stdout.readline().strip() == b"ready"
    wait_for_state(run_dir, "interrupted")
    actions.resume(settings, run_dir.name)
    wait_for_state(run_dir, "succeeded")
    caches = [row["cache"] for row in protocol.read_json(run_dir / "result.json")["stages"]]
    assert caches == ["hit" if STAGES.index(one) < STAGES.index(stage) else "miss" for one in STAGES]


def test_restarted_server_can_cancel_a_worker_it_did_not_start(settings, server, launch):
    first = server()
    first.stdout.readline()
    run_dir = launch(mode="deaf")
    wait_for(lambda: _text(run_dir / "pids"))
    first.kill()
    first.wait()
    server().stdout.readline()
    actions.cancel(settings, run_dir.name)
    wait_for_state(run_dir, "cancelled")


def test_second_supervisor_is_refused_and_names_the_first(settings, server):
    first = server()
    first.stdout.readline()
    with pytest.raises(UserError, match=f"process {first.pid} "):
        Supervisor(settings).start()
    first.stdin.close()
    assert first.wait() == 0
    supervisor = ensure_supervisor(settings)
    assert ensure_supervisor(settings) is supervisor
    supervisor.stop()


def test_held_database_gives_the_supervisor_lock_free(settings, server, monkeypatch):
    monkeypatch.setattr("dqf.jobs.supervisor.Store.open", _raise_held)
    supervisor = Supervisor(settings)
    with pytest.raises(UserError, match="held"):
        supervisor.start()
    monkeypatch.undo()
    supervisor.start()
    supervisor.stop()


def _raise_held(settings):
    raise UserError("the database is held by process 1.")


def _is_in(run_dir, stage):
    return any(one.kind == "stage_started" and one.stage == stage for one in protocol.read_events(run_dir))


def _text(path):
    try:
        return path.read_text()
    except OSError:
        return ""


def test_folder_becomes_a_run_with_its_config(supervisor, settings):
    run_dir = settings.runs_dir / protocol.new_run_id("late")
    run_dir.mkdir(parents=True)
    supervisor.tick()
    assert supervisor._watch(run_dir, run_dir.stat().st_mtime) == ""
    protocol.write_json(run_dir / "config.json", {})
    wait_for(lambda: stored_state(supervisor, run_dir) is not None)
