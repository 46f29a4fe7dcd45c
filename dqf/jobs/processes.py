"""Signals to a run's worker and to everything it started."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil

from dqf.jobs.identity import NEAR_S, Worker


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
        else:
            process = psutil.Process(worker.pid)
            for one in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(number)
    return True


def kill_orphans(worker: Worker) -> None:
    """Kill what a dead worker left behind in the session that it led.

    Its pid may have been given to somebody else since, so only members of a session of that number
    whose leader is gone are touched, and nothing from before the last boot of the machine.
    """
    if worker.pid <= 1 or worker.alive() or not worker.of_this_boot():
        return
    try:
        os.killpg(worker.pid, 0)
    except (ProcessLookupError, PermissionError):
        return
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if process.pid == worker.pid and process.status() != psutil.STATUS_ZOMBIE:
                return
            if os.getsid(process.pid) == worker.pid and worker.seconds_before(process) > -NEAR_S:
                process.kill()
