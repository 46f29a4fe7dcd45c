"""The files of a run directory: how worker, supervisor, command line and store talk.

```
<results>/runs/<run_id>/
  config.json      the RunConfig; its presence makes the run exist (state queued)
  worker.json      pid, create time and start time of the process that works or worked on it
  events.jsonl     one Event a line, appended by the worker only
  cancel           present once cancelling was asked for
  result.json      the result; written last, by rename
  worker.log       stdout and stderr of the worker
  artifacts/       <variant>/: what ships
  predictions/     <variant>.parquet
```

The state of a run is a function of these files and of whether its worker lives, so it is true
after any crash, with or without the store.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dqf.errors import UserError
from dqf.jobs.identity import Worker
from dqf.redact import redact_data

QUEUED = "queued"
RUNNING = "running"
CANCELLING = "cancelling"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"
INTERRUPTED = "interrupted"
STATES = (QUEUED, RUNNING, CANCELLING, SUCCEEDED, FAILED, CANCELLED, INTERRUPTED)
LIVE_STATES = (QUEUED, RUNNING, CANCELLING)
RESUMABLE_STATES = (FAILED, CANCELLED, INTERRUPTED)

_RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[a-z0-9-]{1,40}-[0-9a-f]{4}")


@dataclass(frozen=True)
class Event:
    """One line of `events.jsonl`.

    Attributes:
        seq: 0, 1, 2, ... within the file.
        time: seconds since the epoch (UTC).
        kind: plan | stage_started | progress | stage_done | message | heartbeat | terminal.
        stage: id of the stage it speaks of, for example `student-kd`.
        step, total: progress within the stage, 0 of 0 where unknown.
        eta_s: estimated seconds to the end of the stage; None where unknown.
        metrics: numbers such as `loss`; for stage_done also `seconds` and `cache` (hit | miss).
        text: message for people.
        data: anything else; for plan `stages` (list of {id, title}); for terminal `state`, `error`.
    """

    seq: int
    time: float
    kind: str
    stage: str = ""
    step: int = 0
    total: int = 0
    eta_s: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def new_run_id(label: str) -> str:
    """Return a run id that sorts by time: `20261122-143000-starter-1f3a`."""
    slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40].strip("-") or "run"
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{slug}-{secrets.token_hex(2)}"


def valid_run_id(text: str) -> bool:
    """Tell whether a text is a run id (and thus safe as a folder name)."""
    return bool(_RUN_ID.fullmatch(text))


def write_json(path: Path, data: Any) -> None:
    """Write JSON so that readers see the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Return the JSON of a file, None when it is missing or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def create_run(runs_dir: Path, config: Mapping[str, Any], label: str, run_id: str = "") -> Path:
    """Make a run directory in state queued and return it; `run_id` if its name was chosen before."""
    run_dir = runs_dir / (run_id or new_run_id(label))
    run_dir.mkdir(parents=True, exist_ok=bool(run_id))
    write_json(run_dir / "config.json", dict(config))
    return run_dir


def find_run(roots: tuple[Path, ...], run_id: str) -> Path:
    """Return the directory of a run; an unambiguous beginning or `latest` will do. The first root counts that has it.

    Raises:
        UserError: no run, or several, begin like that.
    """
    found = list({run.name: run for root in reversed(roots) for run in list_runs(root)}.values())
    if run_id == "latest" and found:
        return max(found, key=lambda run: run.name)
    matches = [run for run in found if run.name == run_id] or [run for run in found if run.name.startswith(run_id)]
    if len(matches) != 1:
        what = "no run begins" if not matches else f"{len(matches)} runs begin"
        raise UserError(f"a run id must name one run: {what} with {run_id!r}; `python -m dqf list` shows them all.")
    return matches[0]


def list_runs(root: Path) -> list[Path]:
    """Return the run directories below `root`, oldest first."""
    return [root / name for name in sorted(run_folders(root)) if (root / name / "config.json").is_file()]


def run_folders(root: Path) -> dict[str, float]:
    """Return when anything was last added to, renamed in or deleted from what may be a run directory, by its name."""
    found = {}
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # deleted while we looked
                if valid_run_id(entry.name) and entry.is_dir():
                    found[entry.name] = entry.stat().st_mtime
    return found


def read_worker(run_dir: Path) -> Worker | None:
    """Return the last worker of a run, None if none ever started."""
    return Worker.read(read_json(run_dir / "worker.json"))


def log_size(run_dir: Path) -> int:
    """Return the size of a run's event log in bytes, 0 if there is none yet."""
    try:
        return (run_dir / "events.jsonl").stat().st_size
    except OSError:
        return 0


def write_worker(run_dir: Path) -> Worker:
    """Record the calling process as the run's worker."""
    worker = Worker.of(os.getpid(), log_size(run_dir))
    write_json(run_dir / "worker.json", asdict(worker))
    return worker


def request_cancel(run_dir: Path) -> None:
    """Ask a run to stop; workers look at this flag at least every second."""
    (run_dir / "cancel").touch()


def cancel_requested(run_dir: Path) -> bool:
    """Tell whether cancelling was asked for."""
    return (run_dir / "cancel").exists()


def prepare_resume(run_dir: Path) -> None:
    """Put an ended run back into the queue; its stage cache makes it go on where it stopped.

    Raises:
        UserError: the run still lives or has succeeded.
    """
    state = run_state(run_dir)
    if state not in RESUMABLE_STATES:
        raise UserError(f"only a {', '.join(RESUMABLE_STATES)} run can be resumed: {run_dir.name} is {state}.")
    (run_dir / "cancel").unlink(missing_ok=True)
    (run_dir / "worker.json").unlink(missing_ok=True)


def read_events(run_dir: Path, after: int = -1) -> Iterator[Event]:
    """Yield the whole, valid events with `seq` above `after`; a torn last line is left for later."""
    try:
        lines = (run_dir / "events.jsonl").read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except OSError:
        return
    for line in lines:
        event = _parse_event(line)
        if event is not None and event.seq > after:
            yield event


def _parse_event(line: str) -> Event | None:
    try:
        data = json.loads(line)
        sound = (
            isinstance(data["seq"], int) and isinstance(data["kind"], str) and isinstance(data.get("data", {}), dict)
        )
        return Event(**{**data, "time": float(data["time"])}) if sound else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


class EventLog:
    """Appends events to a run's `events.jsonl`; goes on after the last whole line of an earlier worker."""

    def __init__(self, run_dir: Path) -> None:
        path = run_dir / "events.jsonl"
        torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._next = max((event.seq for event in read_events(run_dir)), default=-1) + 1
        self._file = path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def append(self, kind: str, **fields: Any) -> Event:
        """Append one event and return it."""
        event = Event(self._next, time.time(), kind, **fields)
        self._next += 1
        self._file.write(json.dumps(redact_data(asdict(event))) + "\n")
        self._file.flush()
        return event


def last_terminal(run_dir: Path, log_bytes: int = 0) -> Event | None:
    """Return the terminal event that ends the current attempt, None if it has not ended.

    It is the last thing an attempt writes, so only the last lines are looked at.

    Args:
        run_dir: the run.
        log_bytes: where in the log the attempt begins (`Worker.log_bytes`).
    """
    for line in itertools.islice(_lines_backwards(run_dir / "events.jsonl", log_bytes), 1000):
        event = _parse_event(line)
        if event is not None and event.kind in ("terminal", "plan"):
            return event if event.kind == "terminal" else None
    return None


def _lines_backwards(path: Path, first: int = 0, chunk_bytes: int = 65536) -> Iterator[str]:
    """Yield the whole lines of a file from its end to the byte `first`: the end of a long file is found at once."""
    try:
        with path.open("rb") as file:
            position, rest, torn = file.seek(0, os.SEEK_END), b"", True
            while position > first:
                start = max(first, position - chunk_bytes)
                file.seek(start)
                lines = (file.read(position - start) + rest).split(b"\n")
                if torn:
                    lines[-1], torn = b"", False
                rest, position = (lines[0] if start > first else b""), start
                for line in reversed(lines[1:] if start > first else lines):
                    if line:
                        yield line.decode("utf-8", errors="replace")
    except OSError:
        return


def run_state(run_dir: Path) -> str:
    """Derive the state of a run from its files and its worker.

    A result file means done even if the process hangs in teardown; cancelled wins over failed.
    """
    if (run_dir / "result.json").is_file():
        return SUCCEEDED
    worker = read_worker(run_dir)
    cancelling = cancel_requested(run_dir)
    if worker is None:
        return CANCELLED if cancelling else QUEUED
    if worker.alive():
        return CANCELLING if cancelling else RUNNING
    if cancelling:
        return CANCELLED
    terminal = last_terminal(run_dir, worker.log_bytes)
    if terminal is not None:
        state = str(terminal.data.get("state"))
        return state if state in STATES and state not in LIVE_STATES else FAILED
    return INTERRUPTED
