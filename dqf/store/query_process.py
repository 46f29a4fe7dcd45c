"""The process a query runs in: no files, no network, no settings, little memory, an end.

`python -m dqf.store.query_process`, started by `dqf.store.sandbox` for one query. Three walls stand
one behind the other: the query is judged by its parse (`query_rules`), DuckDB has no file system
and its settings are locked, and the process itself cannot write files or take much memory. It reads
predictions through Arrow, because DuckDB's `allowed_paths` would let a query overwrite them.

stdin: a JSON line with sql, limits, files and the names of tables, then each table as Arrow stream
with its length before it. stdout: the line `ready`, then a JSON line, then the result as Arrow stream.
"""

from __future__ import annotations

import functools
import json
import operator
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from dqf.errors import UserError
from dqf.store import query_rules
from dqf.store.predictions import FIGURES, SELECT
from dqf.store.snapshot import PREDICTIONS, STUDY_KEYS, STUDY_PREDICTIONS

ADDRESS_SPACE_BYTES = 4_000_000_000
CPU_SECONDS = 60
IDLE_SECONDS = 900
BATCH_ROWS = 1000
MOST_ERROR = 4000
"""Characters of an error that are passed on; one can quote as long a value as a query can make."""
_FIGURES = [
    ("idx", pa.int64()),
    ("label", pa.float64()),
    ("prediction", pa.float64()),
    ("logits", pa.list_(pa.float32())),
]
_TEXT, _NUMBER = pa.string(), pa.int64()
ROWS = {
    PREDICTIONS: pa.schema([*((name, _TEXT) for name in ("run_id", "variant_id", "run_task", "task")), *_FIGURES]),
    STUDY_PREDICTIONS: pa.schema(
        [
            *((name, _TEXT) for name in ("study", "condition", "task", "variant", "bits")),
            ("seed", _NUMBER),
            *_FIGURES,
        ]
    ),
}
"""Columns of the files of each lazy table, and what is the same in a whole file."""
VIEWS = {
    PREDICTIONS: f"""SELECT {SELECT} FROM (
        SELECT * REPLACE (coalesce(task, run_task) AS task) FROM rows_of_{PREDICTIONS})""",  # noqa: S608
    STUDY_PREDICTIONS: f"SELECT {STUDY_KEYS}, {FIGURES} FROM rows_of_{STUDY_PREDICTIONS}",  # noqa: S608
}


def confine_process() -> None:
    """Take from this process what a query never needs, for good."""
    for limit, value in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, ADDRESS_SPACE_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
    ):
        _, most = resource.getrlimit(limit)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (value, value))
    os.nice(5)


def open_confined(
    tables: Mapping[str, pa.Table], files: Mapping[str, Sequence[Mapping[str, str]]], limits: Mapping[str, int]
) -> duckdb.DuckDBPyConnection:
    """Return a database in memory that holds the tables and nothing else, and can reach nothing else.

    Args:
        tables: copied into it.
        files: by lazy table (`VIEWS`), the path of each file and what is the same in all its rows.
        limits: memory_mb, time_ms.
    """
    connection = duckdb.connect(
        ":memory:", config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    for name, table in tables.items():
        connection.register("incoming", table)
        connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM incoming')  # noqa: S608 - names of our own
        connection.unregister("incoming")
    for name, found in files.items():
        connection.register(f"rows_of_{name}", _dataset(found, ROWS[name]))
        connection.execute(f"CREATE VIEW {name} AS {VIEWS[name]}")
    for setting, value in (
        ("memory_limit", f"'{limits['memory_mb']}MB'"),
        ("max_execution_time", str(limits["time_ms"])),
        ("threads", "1"),
        ("temp_directory", "''"),
        ("max_temp_directory_size", "'0MB'"),
        ("python_enable_replacements", "false"),
        ("allow_community_extensions", "false"),
        ("allow_persistent_secrets", "false"),
        ("disabled_filesystems", "'LocalFileSystem'"),
        ("enable_external_access", "false"),
        ("lock_configuration", "true"),
    ):
        connection.execute(f"SET {setting} = {value}")
    return connection


def _dataset(files: Sequence[Mapping[str, str]], schema: pa.Schema) -> ds.Dataset:
    """Return files as a lazy table; a filter on what is the same in a file opens only the files that pass."""
    kind, disk = ds.ParquetFileFormat(), pafs.LocalFileSystem()
    fragments = []
    for one in files:
        if os.path.isfile(one["path"]):
            same = [ds.field(name) == value for name, value in one.items() if name != "path"]
            whole = functools.reduce(operator.and_, same)
            fragments.append(kind.make_fragment(one["path"], disk, partition_expression=whole))
    return ds.FileSystemDataset(fragments, schema, kind, disk)


def answer(connection: duckdb.DuckDBPyConnection, sql: str, limits: Mapping[str, int]) -> tuple[pa.Table, bool]:
    """Return the first rows of a query and whether there were more.

    Raises:
        UserError: the result is larger than a page can take.
    """
    reader = connection.execute(sql).to_arrow_reader(BATCH_ROWS)
    if reader is None:
        return pa.table({}), False
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if size > limits["result_bytes"]:
            raise UserError(
                f"a result must be smaller than {limits['result_bytes'] // 1_000_000} MB: this one is larger; "
                "choose fewer columns or rows."
            )
        if rows > limits["rows"]:
            break
    table = pa.Table.from_batches(batches, reader.schema)
    return table.slice(0, limits["rows"]), rows > limits["rows"]


def explain(error: Exception, limits: Mapping[str, int]) -> str:
    """Return what went wrong with a query, in a sentence and DuckDB's own words where they help."""
    text = str(error).strip()
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError):
        return f"a query can use {limits['memory_mb']} MB of memory: this one needs more; select fewer rows or columns."
    if isinstance(error, duckdb.InterruptException) or "max_execution_time" in text or "timed out" in text:
        return too_long(limits)
    if isinstance(error, FileNotFoundError) or "FileNotFoundError" in text:
        return "a run was deleted while the query read it: ask again."
    return text


def too_long(limits: Mapping[str, int]) -> str:
    """Return the refusal of a query that does not end."""
    return f"a query can take {limits['time_ms'] / 1000:g} s: this one was stopped; narrow it with WHERE or LIMIT."


def main() -> None:
    """Answer the one query on stdin."""
    confine_process()
    pa.set_cpu_count(1)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    signal.alarm(IDLE_SECONDS)
    line = source.readline()
    signal.alarm(0)
    if not line:
        return  # whoever started this process has ended
    request = json.loads(line)
    tables = {name: _read_table(source) for name in request["tables"]}
    limits: dict[str, int] = request["limits"]
    connection = open_confined(tables, request["files"], limits)
    sink.write(b"ready\n")
    sink.flush()
    head: dict[str, Any] = {"error": "", "more": False}
    table = pa.table({})
    started = time.monotonic()
    try:
        query_rules.check(connection, request["sql"], [*tables, *request["files"]])
        table, head["more"] = answer(connection, request["sql"], limits)
    except UserError as error:
        head["error"] = str(error)
    except Exception as error:
        head["error"] = explain(error, limits)
    head["error"] = head["error"][:MOST_ERROR]
    head["seconds"] = time.monotonic() - started
    sink.write(json.dumps(head).encode() + b"\n")
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    sink.flush()
    os._exit(0)  # nothing is left to save, and closing a large database takes time


def _read_table(source: BinaryIO) -> pa.Table:
    (length,) = struct.unpack("<Q", source.read(8))
    return pa.ipc.open_stream(source.read(length)).read_all()


if __name__ == "__main__":
    main()
