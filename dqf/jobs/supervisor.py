"""The thread that keeps runs going: one queued run after the other, one worker process each.

All it knows lies in the run directories, so a server may die at any time: the next supervisor
re-attaches to the workers that live and sees the others as interrupted.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.jobs.executor import Executor, LocalExecutor
from dqf.jobs.identity import Worker
from dqf.jobs.protocol import EventLog
from dqf.settings import Settings
from dqf.store.db import Store, describe_process
from dqf.store.ingest import sync
from dqf.sweeps.directory import sweep_making_ahead

log = logging.getLogger(__name__)

INTERVAL_S = 0.5
FULL_SYNC_S = 15.0
"""Looking at every file of thousands of runs twice a second would take the pages' time."""
THREAD_NAME = "dqf-supervisor"


class Supervisor:
    """Runs the queue of one results directory and keeps its store up to date.

    Args:
        settings: names the results directory.
        executor: how runs get their processes; this machine by default.
    """

    def __init__(self, settings: Settings, executor: Executor | None = None) -> None:
        self.settings = settings
        self._executor = executor or LocalExecutor(settings)
        self._store: Store | None = None
        self._lock_file: TextIO | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended: dict[str, tuple[float, str]] = {}
        self._unrecorded: set[str] = set()
        self._seen: dict[str, tuple[float, str]] = {}
        self._synced = 0.0

    @property
    def store(self) -> Store:
        """The store; open while the supervisor is started."""
        if self._store is None:
            raise RuntimeError("the supervisor is not started")
        return self._store

    @property
    def running(self) -> bool:
        """Whether the thread works."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Take the results directory, open the store and start the thread.

        Raises:
            UserError: another process supervises this directory or holds the database.
        """
        if self.running:
            return
        self._lock_file = _take_lock(self.settings)
        try:
            self._store = Store.open(self.settings)
        except BaseException:
            self._release()
            raise
        self._stop.clear()
        self._thread = threading.Thread(target=self._loop, name=THREAD_NAME, daemon=True)
        self._thread.supervisor = self  # type: ignore[attr-defined]
        self._sync()
        self._thread.start()
        atexit.register(self.stop)  # a thread inside DuckDB would abort the interpreter's shutdown

    def stop(self) -> None:
        """Stop the thread and give directory and database free; workers go on."""
        atexit.unregister(self.stop)
        self._stop.set()
        self.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None
        self._release()

    def wake(self) -> None:
        """Look at the runs now rather than at the next half second."""
        self._wake.set()

    def tick(self) -> None:
        """Look at all runs once: stop, clean up, start the next, and update the store."""
        busy, queued = False, []
        seen = {"": (_changed(self.settings.reference_dir), "")}  # of everything looked at: (changed, state)
        runs_dir = self.settings.runs_dir
        for name, changed in protocol.run_folders(runs_dir).items():
            seen[name] = self._ended.get(name, (0.0, ""))
            if seen[name][0] == changed:
                continue  # as nearly all of thousands do; even making their paths would take its time
            try:
                state = self._watch(runs_dir / name, changed)
            except Exception:
                log.exception("run %s could not be looked after", name)
                continue
            seen[name] = (changed, state)
            busy = busy or state in (protocol.RUNNING, protocol.CANCELLING)
            if state == protocol.QUEUED:
                queued.append(runs_dir / name)
        busy = busy or (bool(queued) and bool(sweep_making_ahead(self.settings.results_dir / "sweeps")))
        for run_dir in sorted(queued, key=_submitted):
            if busy:
                break
            busy = self._start(run_dir)
            seen.clear()
        if seen != self._seen or time.monotonic() - self._synced > FULL_SYNC_S:
            self._sync()
            self._seen, self._synced = seen, time.monotonic()

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self.tick()
            except Exception:
                log.exception("the supervisor goes on after an error")
            self._wake.wait(INTERVAL_S)
            self._wake.clear()

    def _watch(self, run_dir: Path, changed: float) -> str:
        """Return the state of a run after doing what it needs, empty if it is none.

        Args:
            run_dir: what may be a run's directory.
            changed: when anything was last added to it or renamed in it (the log may still grow).
        """
        if not (run_dir / "config.json").is_file():
            return ""
        state = protocol.run_state(run_dir)
        alive = self._executor.poll(run_dir)
        if state == protocol.CANCELLING:
            self._executor.stop(run_dir)
        elif state not in protocol.LIVE_STATES:
            self._executor.clean_up(run_dir)
            if not alive:
                self._ended[run_dir.name] = (changed, state)
        return state

    def _start(self, run_dir: Path) -> bool:
        try:
            return self._executor.start(run_dir)
        except Exception as error:
            if run_dir.name in self._unrecorded:  # as one that belongs to somebody else: it was told of once
                return False
            log.exception("the worker of run %s could not be started", run_dir.name)
            try:
                record_start_failure(run_dir, error)
            except Exception:
                self._unrecorded.add(run_dir.name)
                log.exception("the failed start of run %s could not be recorded", run_dir.name)
            return False

    def _sync(self) -> None:
        try:
            sync(self.store, self.settings)
        except Exception:
            log.exception("the store could not be updated")

    def _release(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None


def record_start_failure(run_dir: Path, error: Exception) -> None:
    """Let a run whose worker could not be started end as failed, so that it does not block the queue."""
    now = time.time()
    protocol.write_json(run_dir / "worker.json", asdict(Worker(0, 0.0, now, protocol.log_size(run_dir))))
    reason = f"the worker process could not be started: {type(error).__name__}: {error}"
    EventLog(run_dir).append("terminal", data={"state": protocol.FAILED, "error": reason})


def _submitted(run_dir: Path) -> tuple[float, str]:
    """Return what the queue is ordered by; run ids tell seconds only."""
    try:
        return (run_dir / "config.json").stat().st_mtime, run_dir.name
    except OSError:
        return 0.0, run_dir.name


def _changed(folder: Path) -> float:
    """Return when anything was last added to or renamed in a folder."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _take_lock(settings: Settings) -> TextIO:
    """Take the lock of a results directory; the operating system frees it when this process ends.

    Raises:
        UserError: another process has it.
    """
    path = settings.results_dir / "supervisor.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the results folder must be writable: {settings.results_dir} is not ({error.strerror}); "
            "change its permissions or set `DQF_RESULTS_DIR`."
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        who = describe_process(int(holder)) if holder.isdigit() else "another process"
        raise UserError(
            f"one app at a time can run the queue of {settings.results_dir}: {who} does already; "
            "use that one, stop it, or choose another folder with `DQF_RESULTS_DIR`."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


_supervisors: dict[Path, Supervisor] = {}
_supervisors_lock = threading.Lock()


def ensure_supervisor(settings: Settings) -> Supervisor:
    """Return this process's supervisor of a results directory, started; any thread may call it.

    Raises:
        UserError: another process supervises this directory or holds the database.
    """
    with _supervisors_lock:
        supervisor = _supervisors.get(settings.results_dir)
        if supervisor is not None and supervisor.running:
            return supervisor
        _stop_leftovers(settings)
        supervisor = Supervisor(settings)
        supervisor.start()
        _supervisors[settings.results_dir] = supervisor
        return supervisor


def _stop_leftovers(settings: Settings) -> None:
    """Stop a supervisor of an earlier import of this module (Streamlit re-imports edited modules)."""
    for thread in threading.enumerate():
        other: Any = getattr(thread, "supervisor", None)
        if thread.name == THREAD_NAME and other is not None and other.settings.results_dir == settings.results_dir:
            other.stop()
