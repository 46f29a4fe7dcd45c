import contextlib
import subprocess
import sys
import time

import psutil
import pytest

from dqf.jobs import actions, protocol
from dqf.jobs.executor import LocalExecutor, worker_environment
from dqf.jobs.supervisor import Supervisor
from dqf.presets import preset_config
from dqf.settings import load_settings
from tests.support.fake_server import FAKE_WORKER


@pytest.fixture
def settings(tmp_path):
    settings = load_settings(tmp_path / "results")
    yield settings
    for run_dir in protocol.list_runs(settings.runs_dir):
        worker = protocol.read_worker(run_dir)
        if worker is not None and worker.alive():
            psutil.Process(worker.pid).kill()
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            psutil.Process(int((run_dir / "pids").read_text())).kill()


@pytest.fixture
def executor(settings):
    return LocalExecutor(settings, FAKE_WORKER, grace_s=1.0)


@pytest.fixture
def supervisor(settings, executor):
    supervisor = Supervisor(settings, executor)
    supervisor.start()
    yield supervisor
    supervisor.stop()


@pytest.fixture
def launch(settings):
    """Queue a fake run; `steps` of 20 ms for each of its 3 stages, `mode` for what goes wrong."""

    def submit(steps=5, mode=""):
        config = preset_config("starter", {"seed": steps, "preset": mode})
        return settings.runs_dir / actions.submit(settings, config)

    return submit


@pytest.fixture
def server(settings):
    """Start a supervising process; returns a function, all are killed in the end."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fake_server", str(settings.results_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=worker_environment(settings),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def wait_for(condition, seconds=10.0):
    """Wait until a condition holds and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.03)
    raise AssertionError(f"did not come true within {seconds} s")


def wait_for_state(run_dir, state, seconds=10.0):
    try:
        wait_for(lambda: protocol.run_state(run_dir) == state, seconds)
    except AssertionError:
        log = (run_dir / "worker.log").read_text() if (run_dir / "worker.log").exists() else ""
        raise AssertionError(f"is {protocol.run_state(run_dir)}, not {state}\n{log}") from None
