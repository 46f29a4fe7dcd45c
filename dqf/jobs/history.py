"""What a run's events add up to, read incrementally.

The web page asks every second, so a small cache remembers for each `events.jsonl` how far it was
read and what came out of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dqf.jobs.protocol import Event

WAITING = "waiting"
RUNNING = "running"
DONE = "done"

_MAX_CURVE_POINTS = 2000
_MAX_MESSAGES = 500
_MAX_CACHED_RUNS = 64


@dataclass
class StageHistory:
    """A stage while its events are being read."""

    id: str
    title: str
    status: str = WAITING
    step: int = 0
    total: int = 0
    eta_s: float | None = None
    heard: float = 0.0
    seconds: float | None = None
    cache: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    started: float | None = None


@dataclass
class History:
    """What the events read so far say, and how far the file was read."""

    inode: int = 0
    offset: int = 0
    stages: dict[str, StageHistory] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    first_time: float | None = None
    last_time: float | None = None
    terminal_time: float | None = None
    error: str = ""

    def add(self, event: Event) -> None:
        """Take in one event."""
        self.first_time = event.time if self.first_time is None else self.first_time
        self.last_time = event.time
        if event.kind == "plan":
            self._plan(event)
        elif event.kind == "message" and event.text:
            self.messages.append(str(event.text))
            del self.messages[:-_MAX_MESSAGES]
        elif event.kind == "terminal":
            self.terminal_time, self.error = event.time, str(event.data.get("error") or "")
        elif event.kind in ("stage_started", "progress", "stage_done") and event.stage:
            self._stage_event(event)

    def _plan(self, event: Event) -> None:
        """Begin an attempt: stages and error start anew, curves are continued by a resumed training."""
        self.terminal_time, self.error = None, ""
        self.stages = {}
        for stage in event.data.get("stages") or ():
            if isinstance(stage, Mapping) and stage.get("id"):
                name = str(stage["id"])
                self.stages[name] = StageHistory(name, str(stage.get("title") or name))

    def _stage_event(self, event: Event) -> None:
        stage = self.stages.setdefault(event.stage, StageHistory(event.stage, event.stage))
        stage.heard = event.time
        if event.kind == "stage_started":
            stage.status, stage.started = RUNNING, event.time
            return
        stage.metrics.update(event.metrics)
        if event.kind == "progress":
            stage.status = RUNNING
            stage.started = stage.started or event.time
            stage.step, stage.total, stage.eta_s = event.step, event.total, event.eta_s
            loss = event.metrics.get("loss")
            if isinstance(loss, int | float) and loss == loss:
                _add_point(self.curves.setdefault(event.stage, []), event.step, float(loss))
            return
        stage.status, stage.eta_s = DONE, None
        seconds = stage.metrics.pop("seconds", None)
        stage.seconds = float(seconds) if isinstance(seconds, int | float) else None
        stage.cache = str(stage.metrics.pop("cache", ""))


def _add_point(curve: list[tuple[int, float]], step: int, loss: float) -> None:
    """Append a point; a training that was resumed at an earlier step replaces what came after it."""
    while curve and curve[-1][0] >= step:
        curve.pop()
    curve.append((step, loss))
    if len(curve) > _MAX_CURVE_POINTS:
        del curve[1:-1:2]


_cache: OrderedDict[Path, History] = OrderedDict()
_cache_lock = threading.Lock()


def read_history(run_dir: Path) -> History:
    """Return a private copy of what the events say, parsing only what is new in the file."""
    path = run_dir / "events.jsonl"
    with _cache_lock:
        history = _cache.pop(path, None) or History()
        try:
            with path.open("rb") as file:
                stat = path.stat()
                if stat.st_ino != history.inode or stat.st_size < history.offset:
                    history = History(inode=stat.st_ino)
                file.seek(history.offset)
                fresh = file.read()
        except OSError:
            return History()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        history.offset += len(whole)
        for line in whole.splitlines():
            event = parse_event(line)
            if event is not None:
                with contextlib.suppress(Exception):  # a strange event is skipped, the others still count
                    history.add(event)
        _cache[path] = history
        while len(_cache) > _MAX_CACHED_RUNS:
            _cache.popitem(last=False)
        return dataclasses.replace(
            history,
            stages={name: dataclasses.replace(stage) for name, stage in history.stages.items()},
            curves={name: list(points) for name, points in history.curves.items()},
            messages=list(history.messages),
        )


def parse_event(line: bytes) -> Event | None:
    """Return the event of one line, None when it is not a sound one."""
    try:
        event = Event(**json.loads(line))
        step, total = int(event.step), int(event.total)
        eta_s = None if event.eta_s is None else max(0.0, float(event.eta_s))
        moment = float(event.time)
        sound = (
            isinstance(event.kind, str)
            and isinstance(event.stage, str)
            and isinstance(event.metrics, dict)
            and isinstance(event.data, dict)
            and 0 <= moment < 1e11
        )
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return dataclasses.replace(event, step=step, total=total, eta_s=eta_s, time=moment) if sound else None
