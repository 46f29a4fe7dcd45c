"""The reporter of a worker: writes events, estimates times, and stops the work when asked to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dqf.errors import Cancelled
from dqf.jobs import protocol
from dqf.jobs.protocol import Event, EventLog

Listener = Callable[[Event], None]

PROGRESS_INTERVAL_S = 0.25
HEARTBEAT_INTERVAL_S = 2.0


@dataclass
class Stop:
    """Whether this process was asked to stop. A plain flag, because a signal handler may take no lock."""

    asked: bool = False


class FileReporter:
    """A `dqf.progress.Reporter` that appends to a run's events.

    Progress is written at most four times a second, but the last step of a stage is never lost. Use
    it as a context manager: a heartbeat is written from a thread while it is open.

    Args:
        run_dir: the run directory, for its cancel flag.
        events: the open log.
        listener: gets every event too, from the thread that reports it.
        stop: once it is asked, the next call raises `Cancelled`.
    """

    def __init__(
        self, run_dir: Path, events: EventLog, listener: Listener | None = None, stop: Stop | None = None
    ) -> None:
        self._run_dir = run_dir
        self._events = events
        self._listener = listener
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._asked_to_stop = stop or Stop()
        self._stage = ""
        self._pending: dict[str, Any] | None = None
        self._metrics: dict[str, Any] = {}
        self._first: tuple[float, int] | None = None
        self._written = 0.0
        self._heard = 0.0
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> FileReporter:
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_heartbeat()
        with self._lock:
            self._flush()

    def cancel_requested(self) -> bool:
        """Tell whether the run was asked to stop, by a signal or by its flag."""
        return self._asked_to_stop.asked or protocol.cancel_requested(self._run_dir)

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the run was asked to stop."""
        if self.cancel_requested():
            with self._lock:
                self._flush()
            raise Cancelled("the run was asked to stop")

    def plan(self, stages: Sequence[Mapping[str, str]]) -> None:
        """Announce all stages, in order."""
        self._append("plan", data={"stages": [dict(stage) for stage in stages]})
        self.check_cancelled()

    def stage_started(self, stage: str) -> None:
        """Say that a stage begins."""
        with self._lock:
            self._flush()
            self._stage, self._first, self._metrics, self._written = stage, None, {}, 0.0
            self._append("stage_started", stage=stage)
        self.check_cancelled()

    def progress(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """Say how far the current stage is; written at most four times a second."""
        with self._lock:
            now = time.monotonic()
            if self._first is None or step < self._first[1]:
                self._first = (now, step)
            self._metrics.update(_plain(metrics))
            self._pending = {
                "stage": self._stage,
                "step": int(step),
                "total": int(total),
                "eta_s": self._eta_s(now, step, total),
                "metrics": dict(self._metrics),
            }
            if step >= total > 0 or now - self._written >= PROGRESS_INTERVAL_S:
                self._flush()
        self.check_cancelled()

    def stage_done(self, stage: str, cache: str, seconds: float, metrics: Mapping[str, Any] | None = None) -> None:
        """Say that a stage ended."""
        with self._lock:
            self._flush()
            self._append(
                "stage_done",
                stage=stage,
                metrics={**_plain(metrics), "seconds": round(float(seconds), 3), "cache": cache},
            )
            self._stage = ""
        self.check_cancelled()

    def message(self, text: str) -> None:
        """Tell people something about the current stage."""
        self._append("message", stage=self._stage, text=str(text))
        self.check_cancelled()

    def terminal(self, state: str, error: str) -> None:
        """Write the event that ends this attempt; no sign of life comes after it."""
        self._end_heartbeat()
        with self._lock:
            self._flush()
            self._append("terminal", data={"state": state, "error": error})

    def _end_heartbeat(self) -> None:
        self._stop.set()
        if self._heart.is_alive():
            self._heart.join()

    def _eta_s(self, now: float, step: int, total: int) -> float | None:
        if self._first is None or step <= self._first[1] or total <= 0:
            return None
        seconds_per_step = (now - self._first[0]) / (step - self._first[1])
        return round(max(0, total - step) * seconds_per_step, 1)

    def _flush(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._written = time.monotonic()
            self._append("progress", **pending)

    def _append(self, kind: str, **fields: Any) -> None:
        with self._lock:
            event = self._events.append(kind, **fields)
            self._heard = time.monotonic()
        if self._listener is not None:
            self._listener(event)

    def _beat(self) -> None:
        """Write what throttling held back, and a sign of life when nothing else was written."""
        while not self._stop.wait(HEARTBEAT_INTERVAL_S / 4):
            with self._lock:
                if self._pending is not None and time.monotonic() - self._written >= PROGRESS_INTERVAL_S:
                    self._flush()
                elif time.monotonic() - self._heard >= HEARTBEAT_INTERVAL_S:
                    self._append("heartbeat")


def _plain(metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return metrics as JSON can hold them; NaN and infinity become None, numpy and torch scalars numbers."""
    plain: dict[str, Any] = {}
    for name, value in (metrics or {}).items():
        if hasattr(value, "item"):
            value = value.item()
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            value = None
        plain[str(name)] = value
    return plain
