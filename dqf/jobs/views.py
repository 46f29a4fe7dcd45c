"""What people see of a run, read from its directory; nothing here writes and nothing raises."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dqf.jobs import protocol
from dqf.jobs.history import DONE, RUNNING, WAITING, History, StageHistory, read_history
from dqf.redact import redact

STALLED_AFTER_S = 60.0
INTERRUPTED_ERROR = (
    "the worker process ended without a word (killed, out of memory, or the machine went down): "
    "resume goes on where it stopped."
)
FAILED = "failed"
CANCELLED = "cancelled"


@dataclass(frozen=True)
class StageView:
    """One stage of a run.

    Attributes:
        id: for example `student-kd`.
        title: what people read.
        status: waiting | running | done | failed | cancelled.
        step, total: progress within the stage, 0 of 0 where unknown.
        eta_s: estimated seconds to the end of the stage, None unless it runs and the rate is known.
        seconds: how long it took, or has been running.
        cache: `hit` or `miss` once it is done, else empty.
        metrics: the last numbers it reported, for example `loss`.
        started: when it began, UTC.
    """

    id: str
    title: str
    status: str = WAITING
    step: int = 0
    total: int = 0
    eta_s: float | None = None
    seconds: float | None = None
    cache: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    started: datetime | None = None


@dataclass(frozen=True)
class RunView:
    """One run as people see it.

    Attributes:
        run_id: name of the directory.
        run_dir: the directory.
        state: one of `dqf.jobs.protocol.STATES`.
        config: content of `config.json`, empty when unreadable.
        created, started, finished: UTC times, None where unknown.
        stages: in the order of the plan.
        eta_s: estimated seconds to the end of the stage that runs now.
        error: one sentence, empty without an error.
        curves: (step, loss) points of each stage that reports a loss, thinned to 2000.
        messages: what the run said, oldest first.
        stalled: lives, but has not been heard of for a minute.
        last_error: what the last attempt failed with, also while its process still lives.
    """

    run_id: str
    run_dir: Path
    state: str
    config: dict[str, Any]
    created: datetime | None
    started: datetime | None
    finished: datetime | None
    stages: tuple[StageView, ...]
    eta_s: float | None
    error: str
    curves: dict[str, list[tuple[int, float]]]
    messages: tuple[str, ...]
    stalled: bool
    last_error: str = ""

    @property
    def current_stage(self) -> StageView | None:
        """The stage that runs, or the one where the run stopped."""
        return next((stage for stage in self.stages if stage.status not in (WAITING, DONE)), None)


def read_run(run_dir: Path) -> RunView:
    """Return the view of a run; unreadable parts are left empty."""
    state = protocol.run_state(run_dir)
    config = protocol.read_json(run_dir / "config.json")
    worker = protocol.read_worker(run_dir)
    history = read_history(run_dir)
    live = state in (protocol.RUNNING, protocol.CANCELLING)
    now = time.time()
    stages = tuple(_stage_view(stage, state, now) for stage in history.stages.values())
    started = worker.started if worker else history.first_time
    finished = None
    if state not in protocol.LIVE_STATES:
        finished = history.terminal_time or history.last_time or _mtime(run_dir / "result.json")
    running = next((stage for stage in stages if stage.status == RUNNING), None)
    heard = max(history.last_time or 0.0, worker.started if worker else 0.0)
    return RunView(
        run_id=run_dir.name,
        run_dir=run_dir,
        state=state,
        config=config if isinstance(config, dict) else {},
        created=created_of(run_dir),
        started=_moment(started),
        finished=_moment(finished),
        stages=stages,
        eta_s=running.eta_s if running else None,
        error=_error(state, history),
        curves={stage: list(points) for stage, points in history.curves.items()},
        messages=tuple(history.messages),
        stalled=live and now - heard > STALLED_AFTER_S,
        last_error=history.error,
    )


def tail_log(run_dir: Path, lines: int = 200) -> str:
    """Return the last lines of the worker's log; of a progress bar only its last state."""
    try:
        with (run_dir / "worker.log").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 400 * lines))
            text = redact(file.read().decode("utf-8", errors="replace"))
    except OSError:
        return ""
    rows = [row.rstrip("\r").rsplit("\r", 1)[-1] for row in text.split("\n")]
    while rows and not rows[-1].strip():
        rows.pop()
    return "\n".join(rows[-lines:])


def created_of(run_dir: Path) -> datetime | None:
    """Return when a run was launched, as its id says (copies of a directory keep it)."""
    try:
        return datetime.strptime(run_dir.name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _stage_view(stage: StageHistory, state: str, now: float) -> StageView:
    status, seconds, eta_s = stage.status, stage.seconds, None
    if status == RUNNING:
        status = {
            protocol.RUNNING: RUNNING,
            protocol.CANCELLING: RUNNING,
            protocol.SUCCEEDED: DONE,
            protocol.CANCELLED: CANCELLED,
            protocol.QUEUED: WAITING,
        }.get(state, FAILED)
        until = now if status == RUNNING else stage.heard
        seconds = max(0.0, until - stage.started) if stage.started is not None and status != WAITING else None
        if status == RUNNING and stage.eta_s is not None:
            eta_s = max(0.0, stage.eta_s - max(0.0, now - stage.heard))
    return StageView(
        id=stage.id,
        title=stage.title,
        status=status,
        step=stage.step,
        total=stage.total,
        eta_s=eta_s,
        seconds=seconds,
        cache=stage.cache,
        metrics=dict(stage.metrics),
        started=_moment(stage.started),
    )


def _error(state: str, history: History) -> str:
    if state == protocol.FAILED:
        return history.error or "the run failed without a reason: read the log."
    return INTERRUPTED_ERROR if state == protocol.INTERRUPTED else ""


def _moment(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
