import os
import subprocess
import sys
import threading

import pytest

from dqf.errors import UserError
from dqf.jobs import actions, protocol
from dqf.jobs.executor import LocalExecutor, worker_environment
from dqf.jobs.views import read_run
from dqf.jobs.worker import become_worker
from tests.jobs.conftest import wait_for_state
from tests.support.fake_server import FAKE_WORKER


def test_two_executors_never_start_a_run_twice(settings, launch):
    run_dir = launch(steps=3)
    executors = [LocalExecutor(settings, FAKE_WORKER) for _ in range(6)]
    started = []
    threads = [threading.Thread(target=lambda e=e: started.append(e.start(run_dir))) for e in executors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == [False] * 5 + [True]
    wait_for_state(run_dir, "succeeded")
    assert (settings.results_dir / "order.txt").read_text().count("begin") == 1


def test_run_has_a_worker_before_its_process_says_so(settings, launch):
    run_dir = launch(mode="die")
    executor = LocalExecutor(settings, (sys.executable, "-c", "import time; time.sleep(30)"))
    assert executor.start(run_dir)
    assert protocol.run_state(run_dir) == "running"
    assert executor.poll(run_dir)
    os.kill(protocol.read_worker(run_dir).pid, 9)
    wait_for_state(run_dir, "interrupted")
    assert not executor.poll(run_dir)


def test_run_with_a_live_worker_has_no_place_for_another(settings, launch):
    run_dir = launch()
    executor = LocalExecutor(settings, (sys.executable, "-c", "import time; time.sleep(30)"))
    executor.start(run_dir)
    with pytest.raises(UserError, match="one worker at a time"):
        become_worker(run_dir)
    with pytest.raises(UserError, match="can be resumed"):
        actions.take_over(run_dir)


def test_workers_get_the_settings_by_their_environment(settings, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = worker_environment(settings)
    assert environment["DQF_RESULTS_DIR"] == str(settings.results_dir)
    assert environment["DQF_THREADS"] == str(settings.threads)
    assert float(environment["DQF_WATTS_PER_CORE"]) == settings.watts_per_core
    assert "OMP_NUM_THREADS" not in environment


def test_real_worker_refuses_what_is_no_config_without_loading_the_engine(settings, launch):
    run_dir = launch()
    (run_dir / "config.json").write_text('{"seed": -1, "bits": 4}')
    command = [sys.executable, "-X", "importtime", "-m", "dqf.jobs.worker", str(run_dir)]
    done = subprocess.run(command, env=worker_environment(settings), capture_output=True, text=True)
    assert done.returncode == 1
    assert "| torch\n" not in done.stderr
    assert protocol.run_state(run_dir) == "failed"
    assert read_run(run_dir).error.splitlines()[0].startswith("bits: is not a known setting")
    usage = subprocess.run([*command[:-1], "nowhere"], env=worker_environment(settings), capture_output=True, text=True)
    assert usage.returncode == 2
