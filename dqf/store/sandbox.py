"""Free queries over the store, answered by a process of their own that can only read.

The web process stays out of reach of what people type: it sends copies of the small tables to
`dqf.store.query_process`, waits, and kills it if it does not end.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import struct
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from dqf.errors import UserError
from dqf.store.snapshot import Snapshot

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
GRACE_SECONDS = 3
AT_ONCE = 2
_places = threading.BoundedSemaphore(AT_ONCE)
_spares: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()


@dataclass(frozen=True)
class Limits:
    """What one query may take.

    Attributes:
        rows: shown at most; the rest is left out and said so.
        result_bytes: of those rows.
        memory_mb: of the query.
        time_ms: until it is stopped.
    """

    rows: int = 10_000
    result_bytes: int = 64_000_000
    memory_mb: int = 1000
    time_ms: int = 10_000


@dataclass(frozen=True)
class Answer:
    """The result of a query.

    Attributes:
        table: its first rows.
        more: whether rows were left out.
        seconds: the query took.
    """

    table: pa.Table
    more: bool
    seconds: float


def ask(snapshot: Snapshot, sql: str, limits: Limits | None = None) -> Answer:
    """Return the answer to one read-only query.

    Args:
        snapshot: what it can read.
        sql: what somebody typed; trusted in nothing.
        limits: what it may take.

    Raises:
        UserError: the query is refused, wrong or too large, in one sentence.
    """
    limits = limits or Limits()
    if not _places.acquire(timeout=GRACE_SECONDS):
        raise UserError(f"at most {AT_ONCE} queries run at once: others are still running; ask again in a moment.")
    try:
        return _ask(snapshot, sql, limits)
    finally:
        _places.release()


def warm() -> None:
    """Start the process of the next query ahead of it, so that it does not wait for imports.

    A spare ends by itself: when this process does, or after `query_process.IDLE_SECONDS`.
    """
    if _spares.empty():
        _spares.put(_start())


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dqf.store.query_process"],
        cwd=ROOT,
        env={"PATH": os.defpath, "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _process() -> subprocess.Popen[bytes]:
    """Return the spare if it lives, else a new process."""
    while True:
        try:
            spare = _spares.get_nowait()
        except queue.Empty:
            return _start()
        if spare.poll() is None:
            return spare
        _close(spare)


def _close(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()


def _ask(snapshot: Snapshot, sql: str, limits: Limits) -> Answer:
    process = _process()
    assert process.stdin is not None  # noqa: S101 - a pipe, as `_start` asked
    assert process.stdout is not None  # noqa: S101
    late = threading.Event()
    timer = _kill_after(process, START_SECONDS, late)
    try:
        _send(process.stdin, snapshot, sql, limits)
        ready = process.stdout.readline(16)
        timer.cancel()
        if ready != b"ready\n":
            raise UserError("the query's process could not start: see if the machine has memory left, and ask again.")
        timer = _kill_after(process, limits.time_ms / 1000 + GRACE_SECONDS, late)
        return _receive(process.stdout, limits, late)
    finally:
        timer.cancel()
        _close(process)


def _kill_after(process: subprocess.Popen[bytes], seconds: float, late: threading.Event) -> threading.Timer:
    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    return timer


def _send(pipe: IO[bytes], snapshot: Snapshot, sql: str, limits: Limits) -> None:
    head = {"sql": sql, "limits": asdict(limits), "tables": list(snapshot.tables), "files": snapshot.files}
    with contextlib.suppress(BrokenPipeError):  # what it says on stdout tells more
        pipe.write(json.dumps(head).encode() + b"\n")
        for table in snapshot.tables.values():
            buffer = pa.BufferOutputStream()
            with pa.ipc.new_stream(buffer, table.schema) as writer:
                writer.write_table(table)
            content = buffer.getvalue()
            pipe.write(struct.pack("<Q", content.size))
            pipe.write(content)
        pipe.flush()


def _receive(pipe: IO[bytes], limits: Limits, late: threading.Event) -> Answer:
    head = pipe.readline(100_000)
    if not head:
        seconds = limits.time_ms / 1000
        raise UserError(
            f"a query can take {seconds:g} s: this one was stopped; narrow it with WHERE or LIMIT."
            if late.is_set()
            else f"a query can use {limits.memory_mb} MB of memory: this one needs more; select fewer rows or columns."
        )
    said = json.loads(head)
    if said["error"]:
        raise UserError(str(said["error"]))
    most = 4 * limits.result_bytes
    content = pipe.read(most)
    if len(content) >= most:
        raise UserError("a result must be smaller: choose fewer columns or rows.")
    return Answer(pa.ipc.open_stream(content).read_all(), bool(said["more"]), float(said["seconds"]))
