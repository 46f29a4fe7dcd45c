"""Sweeps as processes: interrupted, killed, gone on with; the runs' pipeline only sleeps."""

import json
import os
import signal

import pytest

from dqf.jobs import protocol
from tests.jobs.conftest import wait_for, wait_for_state
from tests.jobs.test_cli_process import start


def finish(process, seconds=40):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def order(settings):
    path = settings.results_dir / "order.txt"
    return path.read_text().splitlines() if path.exists() else []


def states(settings):
    return [protocol.run_state(run) for run in protocol.list_runs(settings.runs_dir)]


@pytest.fixture
def sweep(settings):
    started = []

    def run(*arguments):
        started.append(start(settings, "sweep", *arguments))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_runs_one_after_the_other_and_nothing_twice(settings, sweep):
    code, out, err = finish(sweep("--seed", "1,2,3", "--json"))
    assert code == 0, err
    rows = json.loads(out)["runs"]
    assert [(row["state"], row["settings"]) for row in rows] == [("succeeded", {"seed": n}) for n in (1, 2, 3)]
    runs = [row["run_id"] for row in rows]
    assert order(settings) == [f"{what} {run}" for run in runs for what in ("begin", "end")]
    assert "run 2/3  seed=2" in err
    assert "3/3 [1/3] Teacher" in err
    assert "left for 1 runs" in err
    code, out, err = finish(sweep("--seed", "1,2,3", "--json"))
    assert (code, json.loads(out)["runs"]) == (0, rows)
    assert "3 runs, 3 done already" in err
    assert len(order(settings)) == 6


def test_ctrl_c_stops_the_run_at_work_and_the_same_command_goes_on(settings, sweep):
    process = sweep("--seed", "1,150,2")
    wait_for(lambda: any((run / "teacher.done").exists() for run in protocol.list_runs(settings.runs_dir)[1:]), 20)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert sorted(states(settings)) == ["cancelled", "succeeded"]
    code, out, err = finish(sweep("--seed", "1,150,2"))
    assert code == 0, err
    assert "3 runs, 1 done already" in err
    assert states(settings) == ["succeeded"] * 3
    assert [line.split()[0] for line in order(settings)].count("end") == 3


def test_a_killed_sweep_finds_its_run_still_at_work(settings, sweep):
    process = sweep("--seed", "150,1")
    run = wait_for(lambda: protocol.list_runs(settings.runs_dir), 20)[0]
    wait_for(lambda: (run / "events.jsonl").exists(), 20)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert protocol.run_state(run) == "running"
    code, _, err = finish(sweep("--seed", "150,1"))
    assert code == 0, err
    assert states(settings) == ["succeeded"] * 2
    assert len(order(settings)) == 4


def test_a_killed_worker_ends_its_run_and_the_same_command_tries_it_again(settings, sweep):
    process = sweep("--seed", "150,1")
    run = wait_for(lambda: protocol.list_runs(settings.runs_dir), 20)[0]
    wait_for(lambda: (run / "teacher.done").exists(), 20)
    os.killpg(protocol.read_worker(run).pid, signal.SIGKILL)
    code, _, err = finish(process)
    assert code == 1
    assert "1 interrupted of 2 runs" in err
    assert finish(sweep("--seed", "150,1"))[0] == 0
    assert states(settings) == ["succeeded"] * 2


def test_a_failed_run_does_not_stop_the_others(settings, sweep):
    code, out, err = finish(sweep("--seed", "13,1", "--json"))
    assert code == 1
    assert [row["state"] for row in json.loads(out)["runs"]] == ["failed", "succeeded"]
    assert "run 1/2 failed" in err
    assert "must divide 770" in err
    assert "1 failed of 2 runs; the same command tries them again." in err


def test_detached_runs_are_queued_and_worked_off_by_the_app(settings, sweep, supervisor):
    code, out, _ = finish(sweep("--seed", "1,2", "--detach", "--json"))
    assert code == 0
    rows = json.loads(out)["runs"]
    for row in rows:
        wait_for_state(settings.runs_dir / row["run_id"], "succeeded", 30)
    assert [line.split()[1] for line in order(settings)[::2]] == [row["run_id"] for row in rows]
    assert finish(sweep("--seed", "1,2", "--detach"))[0] == 0
    assert states(settings) == ["succeeded"] * 2


def test_a_sweep_and_the_apps_queue_never_start_a_run_twice(settings, sweep, supervisor):
    code, _, err = finish(sweep("--seed", "1,2,3,4"))
    assert code == 0, err
    assert states(settings) == ["succeeded"] * 4
    assert sorted(line.split()[0] for line in order(settings)) == ["begin"] * 4 + ["end"] * 4


def test_a_sweep_waits_for_another_run_at_work(settings, sweep):
    """Two runs that are timed at once would spoil each other's figures."""
    other = start(settings, "run", "--seed", "150")
    first = wait_for(lambda: protocol.list_runs(settings.runs_dir), 20)[0]
    wait_for(lambda: protocol.run_state(first) == "running", 20)
    code, _, err = finish(sweep("--seed", "1"))
    assert code == 0, err
    assert f"waiting for {first.name} to end" in err
    other.communicate(timeout=20)
    assert [line.split()[0] for line in order(settings)] == ["begin", "end"] * 2


def test_a_dry_run_makes_nothing(settings, sweep):
    code, out, _ = finish(sweep("--seed", "1,2", "--temperature", "1,2", "--dry-run"))
    assert code == 0
    assert out.count("planned") == 4
    assert "4 runs; to train in all: teachers 1, Student-FT 2, Student-KD 4" in out
    assert not settings.results_dir.exists()
