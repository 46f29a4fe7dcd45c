"""How a run gets a process: the supervisor knows only `Executor`, this machine is the first one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import dqf
from dqf.jobs import protocol
from dqf.jobs.claims import claim
from dqf.jobs.identity import Worker
from dqf.jobs.processes import kill_orphans, send_signal
from dqf.settings import Settings

GRACE_S = 10.0


class Executor(Protocol):
    """Starts, watches and stops the worker of a run directory, wherever it works."""

    def start(self, run_dir: Path) -> bool:
        """Start a worker for a queued run; False when the run is no longer queued."""

    def poll(self, run_dir: Path) -> bool:
        """Tell whether the run's worker lives."""

    def stop(self, run_dir: Path) -> bool:
        """Take the next step towards the end of the worker (call it until it returns True)."""

    def clean_up(self, run_dir: Path) -> None:
        """End what is left of a run that has ended."""


class LocalExecutor:
    """Workers as processes of this machine, each in its own session so that they outlive the server.

    What it needs to know of a worker lies in the run directory, so a restarted server goes on with the
    workers of the one before.

    Args:
        settings: passed on to the workers by the environment.
        command: what to run, before the run directory; tests put their own worker here.
        grace_s: seconds between asking a worker to stop and killing it.
    """

    def __init__(self, settings: Settings, command: Sequence[str] | None = None, grace_s: float = GRACE_S) -> None:
        self._settings = settings
        self._command = tuple(command or (sys.executable, "-m", "dqf.jobs.worker"))
        self._grace_s = grace_s
        self._children: dict[Path, subprocess.Popen[bytes]] = {}
        self._asked: dict[Path, Worker] = {}

    def start(self, run_dir: Path) -> bool:
        """Start a worker for a queued run; False when the run is no longer queued.

        Raises:
            OSError: the process could not be started.
        """
        with claim(run_dir):
            if protocol.run_state(run_dir) != protocol.QUEUED:
                return False
            log_bytes = protocol.log_size(run_dir)
            with (run_dir / "worker.log").open("ab") as output:
                child = subprocess.Popen(
                    [*self._command, str(run_dir)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=worker_environment(self._settings),
                    start_new_session=True,
                )
            self._children[run_dir] = child
            self._asked.pop(run_dir, None)
            # The run has a worker from now on, even before the child has come to say so itself.
            protocol.write_json(run_dir / "worker.json", asdict(Worker.of(child.pid, log_bytes)))
        return True

    def poll(self, run_dir: Path) -> bool:
        """Tell whether the run's worker lives; reaps it when it was ours and has ended."""
        child = self._children.get(run_dir)
        if child is not None and child.poll() is not None:
            del self._children[run_dir]
        worker = protocol.read_worker(run_dir)
        return worker is not None and worker.alive()

    def stop(self, run_dir: Path) -> bool:
        """Ask the worker to stop; kill it and all it started once the grace time is over.

        Returns at once. The time counts from the cancel flag, so a restarted server keeps the promise.

        Returns:
            Whether the worker has ended.
        """
        if not protocol.cancel_requested(run_dir):
            protocol.request_cancel(run_dir)
        worker = protocol.read_worker(run_dir)
        if worker is None or not self.poll(run_dir):
            return True
        if seconds_since_change(run_dir / "cancel") > self._grace_s:
            send_signal(worker, signal.SIGKILL)
        elif self._asked.get(run_dir) != worker:
            self._asked[run_dir] = worker
            send_signal(worker, signal.SIGTERM)
        return False

    def clean_up(self, run_dir: Path) -> None:
        """End what is left of a run that has ended: a worker stuck in teardown, or its orphans."""
        worker = protocol.read_worker(run_dir)
        if worker is None:
            return
        if not self.poll(run_dir):
            kill_orphans(worker)
        elif run_dir in self._children and seconds_since_change(run_dir / "result.json") > self._grace_s:
            send_signal(worker, signal.SIGKILL)


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a worker: ours, with the settings spelled out.

    OMP_NUM_THREADS is left out, the worker chooses its threads by `DQF_THREADS`.
    """
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment["DQF_RESULTS_DIR"] = str(settings.results_dir)
    environment["DQF_DATA_DIR"] = os.pathsep.join(str(folder) for folder in settings.data_dirs)
    environment["DQF_MODEL_DIRS"] = os.pathsep.join(str(folder) for folder in settings.model_dirs)
    environment["DQF_THREADS"] = str(settings.threads)
    environment["DQF_TRAINING_THREADS"] = str(settings.training_threads)
    environment["DQF_WATTS_PER_CORE"] = f"{settings.watts_per_core:g}"
    environment["DQF_WATTS_PER_GPU"] = f"{settings.watts_per_gpu:g}"
    environment["PYTHONUNBUFFERED"] = "1"
    source = str(Path(dqf.__file__).resolve().parent.parent)
    known = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    environment["PYTHONPATH"] = os.pathsep.join([source, *(part for part in known if part != source)])
    return environment


def seconds_since_change(path: Path) -> float:
    """Return the age of a file's content, 0 when it is missing."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0
