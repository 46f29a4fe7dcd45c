"""Signals to a run's worker and to everything it started."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil

from dqf.jobs.protocol import Worker


def send_signal(worker: Worker, number: signal.Signals) -> bool:
    """Send a signal to the worker's group if it leads one of its own, else to it and its descendants.

    A worker started by hand shares its group with the shell script or `make` around it, which must not die.

    Returns:
        Whether the worker was alive.
    """
    if not worker.alive():
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess, psutil.AccessDenied):
        if os.getpgid(worker.pid) == worker.pid:
            os.killpg(worker.pid, number)
        elif number == signal.SIGKILL:
            process = psutil.Process(worker.pid)
            for child in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(number)
        else:
            os.kill(worker.pid, number)
    return True


def kill_orphans(worker: Worker) -> None:
    """Kill what a dead worker left behind in its process group."""
    if psutil.pid_exists(worker.pid) and not worker.alive():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process = psutil.Process(worker.pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                return  # the pid belongs to somebody else by now
    if worker.alive() or worker.pid <= 1 or worker.create_time < psutil.boot_time() - 1:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
