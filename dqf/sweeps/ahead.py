"""Making the models of several runs at once, each on its share of the cores, before the runs are measured one by one.

A training of small models uses two cores little better than one (docs/decisions/0027), but timings need the machine
for themselves. What is made lies in the stage cache, where the runs find it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dqf.config import RunConfig, digest_of
from dqf.errors import Cancelled, UserError
from dqf.estimate import estimate
from dqf.jobs import protocol
from dqf.jobs.executor import GRACE_S, worker_environment
from dqf.jobs.protocol import Event, EventLog
from dqf.jobs.reporter import FileReporter, Stop
from dqf.jobs.worker import stop_signals
from dqf.room import memory_limit
from dqf.settings import Settings, load_settings
from dqf.sweeps.directory import Entry, Sweep, making_ahead
from dqf.sweeps.plan import PlannedRun
from dqf.sweeps.work import POLL_S, Tail, ctrl_c_noted, other_at_work, tell_waiting

FOLDER = "ahead"

Started = Callable[[int, Entry], Callable[[Event], None]]
"""(number from 1, entry) -> listener for the events of making its models."""
Ended = Callable[[int, Entry, int, float], None]
"""(number, entry, exit code, seconds)."""


def sharing_cores(settings: Settings, at_once: int, runs: Iterable[PlannedRun]) -> Settings:
    """Return settings under which the models of runs are made by so many processes at once.

    Raises:
        UserError: there are fewer threads than processes, or less memory than the largest runs take together.
    """
    if not 1 <= at_once <= settings.threads:
        raise UserError(
            f"`--train-at-once` must be 1 to {settings.threads}, the threads of `DQF_THREADS`: got {at_once}."
        )
    if at_once == 1:
        return settings
    needed = sum(sorted(estimate(run.config, settings).memory_bytes for run in runs)[-at_once:])
    if needed > memory_limit():
        raise UserError(
            f"the runs of `--train-at-once` must fit into memory together: {at_once} take about {needed / 1e9:.1f} GB, "
            f"and there are {memory_limit() / 1e9:.1f} GB; take fewer at once."
        )
    return replace(settings, own_training_threads=settings.threads // at_once)


def make_ahead(sweep: Sweep, settings: Settings, at_once: int, started: Started, ended: Ended) -> None:
    """Make the models of all runs that are not done yet, so many at once; a failure is left to the run to tell.

    Ctrl-C stops all, keeping what they computed, and is raised again.

    Args:
        sweep: opened.
        settings: of `sharing_cores`.
        at_once: number of processes.
        started: told when the models of a run are begun.
        ended: told when they are made, or could not be.
    """
    waiting = [
        (number, entry) for number, entry in enumerate(sweep.entries, 1) if sweep.state(entry) != protocol.SUCCEEDED
    ]
    working: list[_Making] = []
    with ctrl_c_noted() as asked, making_ahead(sweep):
        _wait_for_others(sweep, asked)
        try:
            while waiting or working:
                if asked.is_set():
                    raise KeyboardInterrupt
                while waiting and len(working) < at_once:
                    number, entry = _take_next(waiting, working)
                    folder = sweep.folder / FOLDER / entry.run.config.digest()[:16]
                    working.append(_start(number, entry, folder, settings, started(number, entry)))
                for one in working:
                    one.tell()
                for one in [one for one in working if one.process.poll() is not None]:
                    one.tell()
                    working.remove(one)
                    if one.process.returncode == 0:
                        shutil.rmtree(one.folder, ignore_errors=True)  # of a failure the log stays
                    ended(one.number, one.entry, one.process.returncode, time.monotonic() - one.began)
                time.sleep(POLL_S)
        finally:
            _stop([one.process for one in working])


def _wait_for_others(sweep: Sweep, asked: threading.Event) -> None:
    """Wait until no run is at work, whose timings would be spoilt.

    Raises:
        KeyboardInterrupt: Ctrl-C was noted.
    """
    waits_for = ""
    while other := other_at_work(sweep.runs_dir):
        if other != waits_for:
            tell_waiting(other)
        waits_for = other
        if asked.is_set():
            raise KeyboardInterrupt
        time.sleep(POLL_S)


def _take_next(waiting: list[tuple[int, Entry]], working: Sequence[_Making]) -> tuple[int, Entry]:
    """Take the first run whose teacher no process is at work with: two should not wait for the same one."""
    at_work = {_teacher(one.entry) for one in working}
    free = (at for at, (_, entry) in enumerate(waiting) if _teacher(entry) not in at_work)
    return waiting.pop(next(free, 0))


def _teacher(entry: Entry) -> str:
    """Return what tells teachers apart."""
    data = entry.run.config.to_dict()
    return digest_of([data["task"], data["teacher"], data["distillation"]["teachers"]])


@dataclass
class _Making:
    """A process at work."""

    number: int
    entry: Entry
    folder: Path
    process: subprocess.Popen[bytes]
    tail: Tail
    listener: Callable[[Event], None]
    began: float

    def tell(self) -> None:
        """Pass on what it reported."""
        for event in self.tail.read():
            self.listener(event)


def _start(number: int, entry: Entry, folder: Path, settings: Settings, listener: Callable[[Event], None]) -> _Making:
    folder.mkdir(parents=True, exist_ok=True)
    protocol.write_json(folder / "config.json", entry.run.config.to_dict())
    tail = Tail(folder / "events.jsonl")
    with (folder / "worker.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dqf.sweeps.ahead", str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=worker_environment(settings),
            start_new_session=True,
        )
    return _Making(number, entry, folder, process, tail, listener, time.monotonic())


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask processes to stop, which they do at their next report; kill what is left after the grace time."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with(parent: int, stop: Stop) -> None:
    """Ask this process to stop once its parent is gone, however that ended: nobody would see what it does."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    stop.asked = True


def main(arguments: list[str] | None = None) -> int:
    """Entry of the process that makes one run's models: folder, and the process that started it."""
    given, parent = sys.argv[1:] if arguments is None else arguments
    folder = Path(given)
    with stop_signals() as stop, FileReporter(folder, EventLog(folder), None, stop) as reporter:
        threading.Thread(target=_end_with, args=(int(parent), stop), daemon=True).start()
        try:
            config = RunConfig.from_dict(protocol.read_json(folder / "config.json"))
            from dqf.pipeline import make_models

            make_models(config, folder, load_settings(), reporter)
        except Cancelled:
            return 130
        except UserError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
