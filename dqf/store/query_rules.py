"""Which queries people may ask: one SELECT over known tables with harmless functions.

What is not known to be harmless is refused. The query is judged by DuckDB's own parse of it, so
that spelling, comments and quoting cannot hide anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import duckdb

from dqf.errors import UserError, did_you_mean

LONGEST = 20_000
TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
FORBIDDEN_FUNCTIONS = frozenset(
    {"current_setting", "getenv", "getvariable", "nextval", "currval", "write_log", "setseed", "query", "query_table"}
)
_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_SOURCES = frozenset(
    {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EMPTY", "EXPRESSION_LIST", "PIVOT", "SHOW_REF", "CTE"}
)
_SOURCE_KEYS = ("from_table", "left", "right", "source")


def check(connection: duckdb.DuckDBPyConnection, sql: str, tables: Collection[str]) -> None:
    """Refuse a query that is more than one SELECT over `tables`; nothing is executed.

    Args:
        connection: parses the query and knows the functions.
        sql: what somebody typed.
        tables: names a query may read.

    Raises:
        UserError: why the query is refused, in one sentence.
    """
    if not sql.strip():
        raise UserError("a query must hold text: it is empty.")
    if len(sql) > LONGEST:
        raise UserError(f"a query must be at most {LONGEST} characters long: got {len(sql)}; shorten it.")
    statements = _parse(connection, sql)
    if len(statements) != 1:
        raise UserError(f"a query must be one statement: got {len(statements)}; ask them one after the other.")
    parts = list(_parts(statements[0]))
    named = {str(entry["key"]) for part in parts for entry in _ctes(part)}
    named |= {str(part["cte_name"]) for part in parts if part.get("cte_name")}
    _check_names(connection, named, tables)
    for part in parts:
        _check_source(part, {one.lower() for one in (*tables, *named)}, tables)
        if isinstance(part.get("function_name"), str):
            _check_function(connection, part)


def _parse(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Any]:
    row = connection.execute("SELECT json_serialize_sql(?::TEXT)", [sql]).fetchone()
    try:
        tree = json.loads(row[0]) if row else {}
    except RecursionError:
        raise UserError("a query must not be nested this deeply: simplify it.") from None
    if tree.get("error"):
        if "Only SELECT" in str(tree.get("error_message")):
            word = _first_word(sql)
            if word in ("SELECT", "FROM", "WITH", "PIVOT"):
                raise UserError("a query must be one SELECT: PIVOT is one only with its values, `ON column IN (...)`.")
            raise UserError(f"a query must be a SELECT: got {word}; this page reads and never writes.")
        raise UserError(f"a query must be valid SQL: {str(tree.get('error_message')).strip()}")
    return list(tree["statements"])


def _first_word(sql: str) -> str:
    text = re.sub(r"/\*.*?\*/|--[^\n]*", " ", sql, flags=re.DOTALL)
    word = re.search(r"[A-Za-z]+", text)
    return word[0].upper()[:20] if word else "something else"


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a parsed query, in no particular order."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _ctes(part: dict[str, Any]) -> list[Any]:
    ctes = part.get("cte_map")
    return list(ctes.get("map", [])) if isinstance(ctes, dict) else []


def _check_names(connection: duckdb.DuckDBPyConnection, named: set[str], tables: Collection[str]) -> None:
    """Refuse names in WITH that could stand for something else outside their scope."""
    views = connection.execute("SELECT lower(view_name) FROM duckdb_views() WHERE internal").fetchall()
    taken = {row[0] for row in views}
    for name in named:
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or name.lower() in taken:
            raise UserError(f"a name in WITH must be a plain new word: got {name[:60]!r}; choose another.")


def _check_source(part: dict[str, Any], readable: set[str], tables: Collection[str]) -> None:
    """Refuse statements inside the query, and sources of rows that are not known to be harmless."""
    for key in ("node", "query_node", "query"):
        inner = part.get(key)
        if isinstance(inner, dict) and str(inner.get("type")) not in _NODES and "node" not in inner:
            raise UserError("a query must only read: it holds a part that is not a SELECT; leave that out.")
    for key in _SOURCE_KEYS:
        source = part.get(key)
        if isinstance(source, dict) and "class" not in source and str(source.get("type")) not in _SOURCES | _NODES:
            raise UserError(f"a query can read tables and subqueries: got {source.get('type')}; write it in SELECTs.")
    kind = part.get("type")
    if kind == "BASE_TABLE":
        path = part.get("qualified_name", {}).get("path") or [part.get("table_name")]
        name = str(path[-1])
        if len(path) > 1 or name.lower() not in readable:
            shown = ".".join(map(str, path))[:80]
            raise UserError(
                f"a query can read {', '.join(tables)}: got {shown!r}; files, other databases and the system's "
                "own tables are out of its reach."
            )
    elif kind == "TABLE_FUNCTION":
        name = str(part.get("function", {}).get("function_name"))
        if name.lower() not in TABLE_FUNCTIONS:
            raise UserError(f"a query cannot use {name[:60]}(): it reaches no files, network or settings.")
    elif kind == "SHOW_REF" and not isinstance(part.get("query"), dict):
        raise UserError("a query must be a SELECT: got SHOW; the tables and their columns are listed on this page.")


def _check_function(connection: duckdb.DuckDBPyConnection, part: dict[str, Any]) -> None:
    name = str(part["function_name"]).lower()
    if name in TABLE_FUNCTIONS:
        return
    if name in FORBIDDEN_FUNCTIONS:
        raise UserError(f"a query cannot use {name}(): it reaches no files, network or settings.")
    kinds = connection.execute(
        "SELECT DISTINCT function_type FROM duckdb_functions() WHERE lower(function_name) = ?", [name]
    ).fetchall()
    harmless = {"scalar", "aggregate", "window", "macro"}
    if kinds and not {kind[0] for kind in kinds} & harmless:
        raise UserError(f"a query cannot use {name[:60]}(): it reaches no files, network or settings.")
    if not kinds and not part.get("is_operator") and part.get("type") == "FUNCTION":
        rows = connection.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()
        known = [row[0] for row in rows if row[0].isidentifier()]
        hint = did_you_mean(name, known)
        raise UserError(f"a function must be a known one: got {name[:60]}(){hint if 'did you' in hint else '.'}")
