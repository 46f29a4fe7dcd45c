import json
import os
import shutil
import time
from dataclasses import asdict

import psutil
import pytest

from dqf.errors import UserError
from dqf.jobs import actions, protocol
from dqf.jobs.identity import Worker, boot_id
from dqf.jobs.protocol import Event, EventLog
from dqf.settings import load_settings
from tests.support.example_runs import DEAD_PID, write_example_run


@pytest.fixture
def run_dir(tmp_path):
    return protocol.create_run(tmp_path, {"seed": 0}, "starter")


def dead_worker(run_dir, started):
    worker = Worker(DEAD_PID, started, started, protocol.log_size(run_dir))
    protocol.write_json(run_dir / "worker.json", asdict(worker))


@pytest.mark.parametrize("label", ["starter", "My Model (v2)", "", "x" * 100, "ünï/../cödé"])
def test_run_ids_are_safe_names(label):
    run_id = protocol.new_run_id(label)
    assert protocol.valid_run_id(run_id)
    assert "/" not in run_id


@pytest.mark.parametrize("name", ["", "..", "a/b", "20260101-000000-x-zzzz", "20260101-000000-x-0000/..", "notes"])
def test_other_names_are_no_run_ids(name):
    assert not protocol.valid_run_id(name)


def test_state_follows_the_files(run_dir):
    assert protocol.run_state(run_dir) == "queued"
    protocol.request_cancel(run_dir)
    assert protocol.run_state(run_dir) == "cancelled"
    protocol.prepare_resume(run_dir)
    protocol.write_worker(run_dir)
    assert protocol.run_state(run_dir) == "running"
    protocol.request_cancel(run_dir)
    assert protocol.run_state(run_dir) == "cancelling"
    dead_worker(run_dir, time.time())
    assert protocol.run_state(run_dir) == "cancelled"
    (run_dir / "cancel").unlink()
    assert protocol.run_state(run_dir) == "interrupted"
    EventLog(run_dir).append("terminal", data={"state": "failed", "error": "x"})
    assert protocol.run_state(run_dir) == "failed"
    (run_dir / "result.json").write_text("{}")
    assert protocol.run_state(run_dir) == "succeeded"


def test_end_of_an_earlier_attempt_does_not_count(run_dir):
    EventLog(run_dir).append("terminal", data={"state": "failed"})
    dead_worker(run_dir, time.time())
    assert protocol.run_state(run_dir) == "interrupted"
    EventLog(run_dir).append("plan", data={"stages": []})
    assert protocol.last_terminal(run_dir) is None


@pytest.mark.parametrize("torn", ["", '{"seq": 7, "ti'])
def test_how_a_run_ended_is_known_though_the_clock_jumped_back(run_dir, monkeypatch, torn):
    EventLog(run_dir).append("terminal", data={"state": "cancelled"})
    with (run_dir / "events.jsonl").open("a") as file:
        file.write(torn)
    dead_worker(run_dir, time.time())
    assert protocol.run_state(run_dir) == "interrupted"
    monkeypatch.setattr(protocol.time, "time", lambda: 1000.0)
    EventLog(run_dir).append("terminal", data={"state": "failed", "error": "x"})
    assert protocol.run_state(run_dir) == "failed"


@pytest.mark.parametrize("state", ["banana", "running", None, 3])
def test_strange_terminal_state_means_failed(run_dir, state):
    dead_worker(run_dir, time.time() - 1)
    EventLog(run_dir).append("terminal", data={"state": state})
    assert protocol.run_state(run_dir) == "failed"


def test_reused_pid_is_not_the_worker(run_dir):
    protocol.write_json(run_dir / "worker.json", {"pid": os.getpid(), "create_time": 1.0, "started": 1.0})
    assert protocol.run_state(run_dir) == "interrupted"


@pytest.mark.skipif(not boot_id(), reason="the system does not name its boots")
def test_a_worker_lives_on_though_the_clock_was_set(run_dir, monkeypatch):
    worker = protocol.write_worker(run_dir)
    boot = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 3600)
    assert psutil.Process().create_time() > worker.create_time + 3000
    assert worker.alive()
    assert worker.of_this_boot()
    assert protocol.run_state(run_dir) == "running"
    later = Worker(os.getpid(), worker.create_time, worker.started, 0, "another boot", worker.after_boot_s)
    assert not later.alive()
    assert not Worker(os.getpid(), worker.create_time, worker.started, 0, boot_id(), worker.after_boot_s - 60).alive()


def test_zombie_is_not_alive():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert not Worker(pid, psutil.Process(pid).create_time(), 0.0).alive()
    finally:
        os.waitpid(pid, 0)


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_only_ended_runs_can_be_resumed(tmp_path, state):
    with pytest.raises(UserError, match=state):
        protocol.prepare_resume(write_example_run(tmp_path, state=state))


def test_events_continue_after_a_torn_line(run_dir):
    log = EventLog(run_dir)
    log.append("message", text="one")
    with (run_dir / "events.jsonl").open("a") as file:
        file.write('{"seq": 1, "time": 1, "kin')
    assert [event.text for event in protocol.read_events(run_dir)] == ["one"]
    EventLog(run_dir).append("message", text="two")
    events = list(protocol.read_events(run_dir))
    assert [(event.seq, event.text) for event in events] == [(0, "one"), (1, "two")]
    assert [event.seq for event in protocol.read_events(run_dir, after=0)] == [1]


def test_last_terminal_is_found_at_the_end_of_a_long_file(run_dir, monkeypatch):
    line = json.dumps(asdict(Event(0, 1.0, "progress", "x", text="ü" * 50)))
    with (run_dir / "events.jsonl").open("w") as file:
        file.write(f"{line}\n" * 20_000)
    EventLog(run_dir).append("terminal", data={"state": "failed", "error": "ü" * 70_000})
    parse, parsed = protocol._parse_event, []
    monkeypatch.setattr(protocol, "_parse_event", lambda line: parsed.append(line) or parse(line))
    assert protocol.last_terminal(run_dir).data["state"] == "failed"
    assert len(parsed) < 10


def test_json_is_never_seen_half_written(tmp_path):
    path = tmp_path / "deep" / "x.json"
    protocol.write_json(path, {"a": 1})
    assert protocol.read_json(path) == {"a": 1}
    with pytest.raises(TypeError):
        protocol.write_json(path, {"a": object()})
    assert protocol.read_json(path) == {"a": 1}
    assert protocol.read_json(tmp_path / "none.json") is None


def test_runs_are_found_by_their_beginning(tmp_path):
    first = write_example_run(tmp_path / "a", state="queued", age_seconds=100)
    second = write_example_run(tmp_path / "b", state="queued", age_seconds=10)
    roots = (tmp_path / "a", tmp_path / "b", tmp_path / "missing")
    assert protocol.find_run(roots, first.name) == first
    assert protocol.find_run(roots, second.name[:15]) == second
    assert protocol.find_run(roots, "latest") == second
    shutil.copytree(first, tmp_path / "b" / first.name)
    assert protocol.find_run(roots, first.name) == first, "the first root counts"
    with pytest.raises(UserError, match="2 runs begin"):
        protocol.find_run(roots, "20")
    with pytest.raises(UserError, match="no run begins"):
        protocol.find_run((tmp_path / "missing",), "latest")


def test_what_may_be_a_run_is_told_with_its_last_change(tmp_path):
    (tmp_path / "20260101-000000-starter-0000").mkdir()
    (tmp_path / "not a run").mkdir()
    (tmp_path / "20260101-000000-starter-0001").write_text("a file")
    found = protocol.run_folders(tmp_path)
    assert found == {"20260101-000000-starter-0000": (tmp_path / "20260101-000000-starter-0000").stat().st_mtime}
    assert protocol.run_folders(tmp_path / "missing") == {}
    assert protocol.list_runs(tmp_path) == []  # it has no config.json


def test_cancelling_twice_does_not_start_the_grace_time_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(actions, "send_signal", lambda *_: None)  # the worker is this process
    settings = load_settings(tmp_path)
    run_dir = write_example_run(settings.runs_dir, state="running")
    actions.cancel(settings, run_dir.name)
    os.utime(run_dir / "cancel", (0, 0))
    actions.cancel(settings, run_dir.name)
    assert (run_dir / "cancel").stat().st_mtime == 0
