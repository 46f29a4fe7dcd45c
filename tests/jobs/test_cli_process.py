import os
import signal
import subprocess
import sys
import time

from dqf.jobs import protocol
from dqf.jobs.executor import worker_environment
from tests.jobs.conftest import wait_for


def start(settings, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.fake_cli", *arguments],
        env=worker_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def only_run(settings):
    runs = protocol.list_runs(settings.runs_dir)
    return runs[0] if runs and (runs[0] / "teacher.done").exists() else None


def test_ctrl_c_cancels_cleanly_and_resume_goes_on(settings):
    process = start(settings, "run", "--seed", "30", "--preset", "starter")
    run_dir = wait_for(lambda: only_run(settings))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == ""
    assert f"python -m dqf resume {run_dir.name}" in err
    assert "Traceback" not in err
    assert protocol.run_state(run_dir) == "cancelled"
    resumed = start(settings, "resume", run_dir.name, "--json")
    out, err = resumed.communicate(timeout=20)
    assert resumed.returncode == 0
    assert '"cache": "hit"' in out
    assert protocol.run_state(run_dir) == "succeeded"


def test_cancel_command_stops_a_run_of_another_terminal(settings):
    process = start(settings, "run", "--seed", "400")
    run_dir = wait_for(lambda: protocol.list_runs(settings.runs_dir))[0]
    wait_for(lambda: (run_dir / "events.jsonl").exists())
    cancel = start(settings, "cancel", "latest")
    out, _ = cancel.communicate(timeout=20)
    assert out == f"{run_dir.name}: cancelled\n"
    assert process.wait(timeout=10) == 130
    process.communicate()


def test_asking_a_run_again_and_again_to_stop_changes_nothing(settings):
    process = start(settings, "run", "--seed", "400")
    run_dir = wait_for(lambda: protocol.list_runs(settings.runs_dir))[0]
    while process.poll() is None:
        process.terminate()
        time.sleep(0.002)
    process.communicate()
    assert process.returncode == 130
    assert protocol.run_state(run_dir) == "cancelled"


def test_killed_run_of_the_command_line_can_be_resumed(settings):
    process = start(settings, "run", "--seed", "25")
    run_dir = wait_for(lambda: only_run(settings))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert protocol.run_state(run_dir) == "interrupted"
    resumed = start(settings, "resume", run_dir.name)
    second = start(settings, "resume", run_dir.name)
    codes = sorted(p.wait(timeout=20) for p in (resumed, second))
    for one in (resumed, second):
        one.communicate()
    assert codes == [0, 2]
    assert protocol.run_state(run_dir) == "succeeded"
