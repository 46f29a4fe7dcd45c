"""Working a sweep off: one run after the other, each in a worker process of its own."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dqf.jobs import protocol
from dqf.jobs.executor import Executor
from dqf.jobs.protocol import Event
from dqf.settings import Settings
from dqf.sweeps.directory import Entry, Sweep, sweep_making_ahead

POLL_S = 0.25

Started = Callable[[int, Entry], Callable[[Event], None]]
"""(number from 1, entry) -> listener for that run's events."""
Ended = Callable[[int, Entry, str, float], None]
"""(number, entry, state, seconds)."""


def work_off(sweep: Sweep, executor: Executor, started: Started, ended: Ended) -> dict[str, int]:
    """Run all that is not done yet; a run that fails does not stop the others.

    Ctrl-C stops the run at work, keeping what it computed, and is raised again.

    Args:
        sweep: opened.
        executor: starts the workers.
        started: told when a run begins or is gone on with.
        ended: told when it ended.

    Returns:
        Number of runs by state.
    """
    with ctrl_c_noted() as asked:
        for number, entry in enumerate(sweep.entries, 1):
            if sweep.state(entry) == protocol.SUCCEEDED:
                continue
            if asked.is_set():
                raise KeyboardInterrupt
            began = time.monotonic()
            run_dir = sweep.queue(entry)
            tail = Tail(run_dir / "events.jsonl")
            listener = started(number, entry)
            try:
                state = _wait(run_dir, sweep.folder.parent, executor, tail, listener, asked)
            except KeyboardInterrupt:
                _stop(run_dir, executor)
                raise
            while executor.poll(run_dir):  # a result may be there while the process still takes itself down
                executor.clean_up(run_dir)
                time.sleep(POLL_S)
            executor.clean_up(run_dir)
            ended(number, entry, state, time.monotonic() - began)
    return count_states(sweep)


@contextmanager
def ctrl_c_noted() -> Iterator[threading.Event]:
    """Note the first Ctrl-C for a loop to act on: raised anywhere, a library may lose it. A second one interrupts.

    Raises:
        KeyboardInterrupt: it came after the loop had last looked.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, _: FrameType | None) -> None:
        asked.set()
        signal.signal(number, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
    if asked.is_set():
        raise KeyboardInterrupt


def count_states(sweep: Sweep) -> dict[str, int]:
    """Return how many runs are in which state."""
    states = [sweep.state(entry) for entry in sweep.entries]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def _wait(
    run_dir: Path,
    sweeps: Path,
    executor: Executor,
    tail: Tail,
    listener: Callable[[Event], None],
    asked: threading.Event,
) -> str:
    """Start the run once no other is at work, unless somebody did (the app's queue may), and watch it to its end.

    Raises:
        KeyboardInterrupt: Ctrl-C was noted.
    """
    waits_for = ""
    while True:
        if asked.is_set():
            raise KeyboardInterrupt
        state = protocol.run_state(run_dir)
        if state == protocol.QUEUED:
            other = other_at_work(run_dir.parent, run_dir.name) or sweep_making_ahead(sweeps)
            if not other:
                executor.start(run_dir)
            elif other != waits_for:
                tell_waiting(other)
            waits_for = other
        executor.poll(run_dir)
        for event in tail.read():
            listener(event)
        if state not in protocol.LIVE_STATES:
            return state
        time.sleep(POLL_S)


def tell_waiting(other: str) -> None:
    """Say on the terminal what is waited for."""
    print(f"waiting for {other} to end: two at once would spoil each other's timings", file=sys.stderr, flush=True)


def other_at_work(runs_dir: Path, own: str = "") -> str:
    """Return the name of a run that is at work, another than one's own, empty if there is none."""
    others = (name for name in protocol.run_folders(runs_dir) if name != own)
    at_work = (protocol.RUNNING, protocol.CANCELLING)
    return next((name for name in others if protocol.run_state(runs_dir / name) in at_work), "")


def reason_to_wait(settings: Settings, at_work: str) -> str:
    """Return in a sentence why a queued run has not begun, empty if nothing keeps it from doing so at any moment.

    Args:
        settings: name the results folder.
        at_work: id of the run that is at work, empty if none is.
    """
    why = "two at once would spoil each other's timings"
    if at_work:
        return f"It waits for {at_work} to end: {why}."
    if sweep := sweep_making_ahead(settings.results_dir / "sweeps"):
        return f"It waits until the models of the sweep {sweep} are made: {why}."
    return ""


def _stop(run_dir: Path, executor: Executor) -> None:
    """Ask the run to stop; the executor kills it after its grace time."""
    while not executor.stop(run_dir):
        time.sleep(POLL_S)
    executor.clean_up(run_dir)


class Tail:
    """Reads what is appended to a run's events from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = ""
        try:
            self._offset = path.stat().st_size
        except OSError:
            self._offset = 0

    def read(self) -> list[Event]:
        """Return the new whole events."""
        try:
            with self._path.open(encoding="utf-8", errors="replace") as file:
                file.seek(self._offset)
                text = file.read()
                self._offset = file.tell()
        except OSError:
            return []
        *lines, self._rest = (self._rest + text).split("\n")
        return [event for line in lines if line.startswith("{") and (event := _event(line))]


def _event(line: str) -> Event | None:
    try:
        return Event(**json.loads(line))
    except (ValueError, TypeError):
        return None
