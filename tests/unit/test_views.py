import json
import time
from dataclasses import asdict

import pytest

from dqf.jobs import history, protocol
from dqf.jobs.views import read_run, tail_log
from tests.support.example_runs import write_example_run


def append(run_dir, **event):
    with (run_dir / "events.jsonl").open("a") as file:
        file.write(json.dumps({"seq": 10_000, "time": time.time(), **event}) + "\n")


def test_succeeded_run_has_all_stages_done_and_a_loss_curve(tmp_path):
    view = read_run(write_example_run(tmp_path))
    assert view.state == protocol.SUCCEEDED
    assert {stage.status for stage in view.stages} == {"done"}
    assert {stage.cache for stage in view.stages} == {"miss"}
    assert len(view.curves["student-kd"]) == 20
    assert view.finished > view.started > view.created
    assert view.messages
    assert view.eta_s is None


@pytest.mark.parametrize(
    ("state", "status"),
    [("running", "running"), ("failed", "failed"), ("cancelled", "cancelled"), ("interrupted", "failed")],
)
def test_stage_where_the_run_stopped_tells_why(tmp_path, state, status):
    view = read_run(write_example_run(tmp_path, state=state))
    assert view.current_stage.id == "student-kd"
    assert view.current_stage.status == status
    assert bool(view.error) == (state in ("failed", "interrupted"))
    assert view.stages[-1].status == "waiting"


def test_only_new_events_are_parsed(tmp_path, monkeypatch):
    run_dir = write_example_run(tmp_path, state="running")
    read_run(run_dir)
    parsed = []
    original = history.parse_event
    monkeypatch.setattr(history, "parse_event", lambda line: parsed.append(line) or original(line))
    append(run_dir, kind="progress", stage="student-kd", step=150, total=200, metrics={"loss": 0.1})
    assert read_run(run_dir).current_stage.step == 150
    assert len(parsed) == 1


def test_torn_line_is_read_once_it_is_whole(tmp_path):
    run_dir = write_example_run(tmp_path, state="running")
    before = read_run(run_dir).current_stage.step
    line = json.dumps(asdict(protocol.Event(999, time.time(), "progress", "student-kd", 190, 200))) + "\n"
    path = run_dir / "events.jsonl"
    with path.open("a") as file:
        file.write(line[:30])
    assert read_run(run_dir).current_stage.step == before
    with path.open("a") as file:
        file.write(line[30:])
    assert read_run(run_dir).current_stage.step == 190


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe\n",
        b"[1, 2]\n",
        b"null\n",
        b"{}\n",
        b'{"seq": 1, "time": "soon", "kind": "progress", "stage": "student-kd", "step": 1}\n',
        b'{"seq": 1, "time": 1e300, "kind": "terminal"}\n',
        b'{"seq": 1, "time": 1, "kind": "progress", "stage": ["x"], "step": 1}\n',
        b'{"seq": 1, "time": 1, "kind": "plan", "data": {"stages": 7}}\n',
        b'{"seq": 1, "time": 1, "kind": "plan", "data": {"stages": [7, {"id": 3}]}}\n',
        b'{"seq": 1, "time": 1, "kind": "terminal", "data": []}\n',
        b'{"seq": 1, "time": 1, "kind": "stage_done", "stage": "teacher", "metrics": {"seconds": "x"}}\n',
        b'{"seq": 1, "time": 1, "kind": "progress", "stage": "a", "step": 1, "metrics": {"loss": NaN}}\n',
        b"{" * 100_000 + b"\n",
    ],
)
def test_garbage_events_never_raise(tmp_path, garbage):
    run_dir = write_example_run(tmp_path, state="running")
    with (run_dir / "events.jsonl").open("ab") as file:
        file.write(garbage)
    append(run_dir, kind="message", text="still here")
    view = read_run(run_dir)
    assert view.messages[-1] == "still here"


def test_garbage_files_never_raise(tmp_path):
    run_dir = tmp_path / "20260101-000000-x-0000"
    run_dir.mkdir()
    for name in ("config.json", "worker.json", "events.jsonl"):
        (run_dir / name).write_bytes(b"\xff\x00[")
    view = read_run(run_dir)
    assert view.config == {}
    assert read_run(tmp_path / "nothing").created is None


def test_resumed_training_continues_its_curve(tmp_path):
    run_dir = write_example_run(tmp_path, state="interrupted")
    append(run_dir, kind="plan", data={"stages": [{"id": "student-kd", "title": "Train"}]})
    append(run_dir, kind="stage_started", stage="student-kd")
    append(run_dir, kind="progress", stage="student-kd", step=61, total=200, metrics={"loss": 0.5})
    steps = [step for step, _ in read_run(run_dir).curves["student-kd"]]
    assert steps == [10, 20, 30, 40, 50, 60, 61]


def test_run_without_news_for_a_minute_is_stalled(tmp_path):
    assert read_run(write_example_run(tmp_path, state="running", age_seconds=600)).stalled
    run_dir = write_example_run(tmp_path, state="running", age_seconds=600)
    append(run_dir, kind="heartbeat")
    assert not read_run(run_dir).stalled


def test_long_events_file_is_parsed_once(tmp_path, monkeypatch):
    run_dir = write_example_run(tmp_path, state="running")
    line = asdict(protocol.Event(0, time.time(), "progress", "student-kd", metrics={"loss": 1.0}))
    with (run_dir / "events.jsonl").open("a") as file:
        for step in range(30_000):
            file.write(json.dumps({**line, "step": step, "total": 30_000}) + "\n")
    assert len(read_run(run_dir).curves["student-kd"]) <= 2000
    monkeypatch.setattr(history, "parse_event", lambda line: pytest.fail("parsed again"))
    read_run(run_dir)


def test_log_tail_is_bounded_and_keeps_the_last_state_of_a_bar(tmp_path):
    run_dir = write_example_run(tmp_path, state="running")
    (run_dir / "worker.log").write_bytes(b"\n".join(b"line %d" % i for i in range(5000)) + b"\n10%\r50%\r100%\n\n")
    tail = tail_log(run_dir, lines=3)
    assert tail == "line 4998\nline 4999\n100%"
    assert tail_log(tmp_path) == ""
