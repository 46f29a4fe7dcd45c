"""Which process works on a run, told apart from others of the same number, also after the clock was set.

The system says when a process began as clock ticks since boot, which nothing changes; as a time of
day it moves whenever the clock is set, and by a second from one look to the next.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NEAR_S = 2.0


@dataclass(frozen=True)
class Worker:
    """The process of a run.

    Attributes:
        pid: process id; may be given to another process later.
        create_time: of the process, in seconds since 1970 by the clock of that moment.
        started: when it took the run up, in seconds since 1970; for people, as clocks may be set.
        log_bytes: size of the run's event log then; what lies behind was written by this worker.
        boot: which boot of the machine it belongs to, empty where the system does not say.
        after_boot_s: when the process began, in seconds after boot.
    """

    pid: int
    create_time: float
    started: float
    log_bytes: int = 0
    boot: str = ""
    after_boot_s: float = 0.0

    @classmethod
    def of(cls, pid: int, log_bytes: int) -> Worker:
        """Return the record of a process that takes a run up now; one that is gone already counts as begun now."""
        now = time.time()
        try:
            created = psutil.Process(pid).create_time()
            return cls(pid, created, now, log_bytes, boot_id(), created - psutil.boot_time())
        except psutil.Error:
            return cls(pid, now, now, log_bytes)

    @classmethod
    def read(cls, data: Any) -> Worker | None:
        """Return the worker that was written as JSON, None if this is not one."""
        try:
            return cls(
                int(data["pid"]),
                float(data["create_time"]),
                float(data["started"]),
                int(data.get("log_bytes", 0)),
                str(data.get("boot", "")),
                float(data.get("after_boot_s", 0.0)),
            )
        except (TypeError, KeyError, ValueError):
            return None

    def alive(self) -> bool:
        """Tell whether this very process still runs (zombies do not)."""
        try:
            process = psutil.Process(self.pid)
            return self.began_with(process) and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def of_this_boot(self) -> bool:
        """Tell whether the machine has not been started anew since."""
        return self.boot == boot_id() if self.boot else self.create_time >= psutil.boot_time() - 1

    def began_with(self, process: psutil.Process) -> bool:
        """Tell whether a process began when this one did."""
        return self.of_this_boot() and abs(self.seconds_before(process)) < NEAR_S

    def seconds_before(self, process: psutil.Process) -> float:
        """Return how long before another process of this boot it began."""
        if self.boot:
            return float(process.create_time() - psutil.boot_time() - self.after_boot_s)
        return float(process.create_time() - self.create_time)


def boot_id() -> str:
    """Return what names this boot of the machine, empty where the system does not say (Linux does)."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
