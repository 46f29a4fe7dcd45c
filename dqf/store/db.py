"""The DuckDB file: who owns it, its migrations, and what happens when it is locked or broken.

One process may have the file open. `Store.open` therefore names the holder when it is somebody
else, and a file that DuckDB cannot read is set aside and rebuilt from the run directories.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

import duckdb
import psutil

from dqf.errors import UserError
from dqf.settings import Settings

log = logging.getLogger(__name__)


class Store:
    """The index over all runs, owned by this process while it is open.

    Attributes:
        path: the database file.
        write_lock: held by whoever changes the store; take it around "look, then change".
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self.path = path
        self._connection = connection
        self.write_lock = threading.RLock()
        self._revision = 0
        self._load_revision()

    @classmethod
    def open(cls, settings: Settings) -> Store:
        """Open (or make) the store of a results directory and bring it to the newest schema.

        Raises:
            UserError: another process holds the file, or it may not be read or written.
        """
        path = settings.database
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(_not_usable(path, error)) from None
        try:
            return cls(_connect(path), path)
        except duckdb.Error as error:
            _refuse_unless_broken(path, error)
            _set_aside(path)
        store = cls(_connect(path), path)
        from dqf.store.ingest import sync

        sync(store, settings)
        return store

    @property
    def revision(self) -> int:
        """A number that grows with every change; caches of query results are keyed on it."""
        return self._revision

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a cursor for one thread; connections must not be shared between threads."""
        return self._connection.cursor()

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give a cursor whose changes are all kept, with a new revision, or all dropped on an error."""
        with self.write_lock, self.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
                cursor.execute("UPDATE store_state SET revision = revision + 1")
                cursor.execute("COMMIT")
            except BaseException:
                with suppress(duckdb.TransactionException):  # a commit that failed has rolled back already
                    cursor.execute("ROLLBACK")
                raise
            self._load_revision()

    def close(self) -> None:
        """Give the file free for other processes."""
        with self.write_lock:
            self._connection.close()

    def _load_revision(self) -> None:
        with self.cursor() as cursor:
            row = cursor.execute("SELECT revision FROM store_state").fetchone()
        self._revision = int(row[0]) if row else 0


def migrations() -> list[tuple[int, str, str]]:
    """Return (number, name, SQL) of all migrations in order."""
    found = []
    for file in resources.files("dqf.store").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_\w+\.sql", file.name)
        if match:
            found.append((int(match[1]), file.name, file.read_text(encoding="utf-8")))
    return sorted(found)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path))
    try:
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Apply the migrations that this file has not seen, each in its own transaction."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT, applied TIMESTAMP)"
    )
    applied = {row[0] for row in connection.execute("SELECT number FROM migrations").fetchall()}
    known = migrations()
    if applied - {number for number, _, _ in known}:
        raise duckdb.InvalidInputException("the file was made by a newer version of DQF Studio")
    for number, name, sql in known:
        if number in applied:
            continue
        connection.execute("BEGIN")
        try:
            connection.execute(sql)
            connection.execute("INSERT INTO migrations VALUES (?, ?, epoch_ms(epoch_ms(now())))", [number, name])
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _refuse_unless_broken(path: Path, error: duckdb.Error) -> None:
    """Raise for a file that is held or not accessible; return for one that is broken."""
    text = str(error)
    if isinstance(error, duckdb.ParserException):
        raise error  # a mistake in a migration, not in the file
    if "Could not set lock" in text or "Conflicting lock" in text:
        raise UserError(_held(path, text)) from None
    try:
        if not path.is_file():
            raise OSError("it is not a file" if path.exists() else text)
        with path.open("r+b"):
            pass
        (path.parent / ".dqf-write-test").touch()
        (path.parent / ".dqf-write-test").unlink()
    except OSError as reason:
        raise UserError(_not_usable(path, reason)) from None


def _held(path: Path, text: str) -> str:
    match = re.search(r"PID (\d+)", text)
    holder = "another process"
    if match:
        holder = describe_process(int(match[1]))
    return (
        f"the database {path.name} can be used by one process at a time: it is held by {holder}; "
        "close that first (the run directories stay usable: `python -m dqf list`, `show` and `run` do not need it)."
    )


def describe_process(pid: int) -> str:
    """Return `process 123 (python -m dqf ...)`, as far as the command can be seen."""
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        command = ""
    short = command if len(command) <= 80 else command[:77] + "..."
    return f"process {pid} ({short})" if short else f"process {pid}"


def _not_usable(path: Path, reason: OSError) -> str:
    what = reason.strerror or str(reason)
    return (
        f"the database must be a file that can be read and written: {path} is not ({what}); "
        "check its permissions and the free space, or choose another folder with `DQF_RESULTS_DIR`."
    )


def _set_aside(path: Path) -> None:
    """Rename a broken database and its write-ahead log, so that a new one can be made."""
    mark = f"broken-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    for file in (path, path.with_name(path.name + ".wal")):
        if file.exists():
            file.rename(file.with_name(f"{file.name}.{mark}"))
    log.warning("the database could not be read; it was kept as %s.%s and is rebuilt from the runs", path.name, mark)
