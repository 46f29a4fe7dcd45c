"""Free queries: what they may ask, and every way out that was tried."""

import http.server
import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from dqf.errors import UserError
from dqf.settings import load_settings
from dqf.store import query_process, query_rules, sandbox, snapshot
from dqf.store.db import Store
from dqf.store.ingest import sync
from tests.support.example_runs import write_example_run
from tests.support.example_studies import write_example_study

ROOT = Path(__file__).resolve().parents[2]
LIMITS = sandbox.Limits(time_ms=4000, memory_mb=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sandbox")
    settings = load_settings(folder / "results")
    write_example_run(settings.runs_dir, bits=(4, 2), n=80)
    write_example_run(settings.runs_dir, task="stsb", n=60, age_seconds=900)
    (folder / "secret.csv").write_text("a,b\n1,hunter2\n")
    duckdb.connect(str(folder / "other.duckdb")).execute("CREATE TABLE secret AS SELECT 'hunter2' AS a").close()
    return folder


@pytest.fixture(scope="module")
def taken(folder):
    settings = load_settings(folder / "results")
    store = Store.open(settings)
    sync(store, settings)
    taken = snapshot.take(store)
    store.close()
    return taken


@pytest.fixture
def confined(taken):
    """Return DuckDB as a query gets it, without the judge of queries before it."""
    connection = query_process.open_confined(taken.tables, taken.files, asdict(LIMITS))
    yield connection
    connection.close()


def everything_in(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_tables_and_predictions_are_answered(taken):
    answer = sandbox.ask(
        taken,
        """SELECT variant_id, task, count(*) AS n, avg((label = prediction)::INT) AS accuracy, any_value(score) AS score
           FROM predictions JOIN variants USING (run_id, variant_id, task)
           WHERE task <> 'stsb' GROUP BY ALL ORDER BY accuracy""",
    )
    frame = answer.table.to_pandas()
    assert len(frame) == 7
    assert set(frame["n"]) == {80}
    assert frame["accuracy"].tolist() == pytest.approx(frame["score"].tolist())
    assert not answer.more


def test_rows_left_out_are_said(taken):
    answer = sandbox.ask(taken, "SELECT * FROM range(100000) AS t(x) ORDER BY x", sandbox.Limits(rows=10))
    assert answer.table.column("x").to_pylist() == list(range(10))
    assert answer.more
    assert not sandbox.ask(taken, "SELECT * FROM range(10)", sandbox.Limits(rows=10)).more


@pytest.mark.parametrize(
    "sql",
    [
        "FROM runs",
        "SELECT * FROM (SELECT run_id FROM Runs) ORDER BY 1",
        "WITH best AS (SELECT * FROM variants WHERE score > 0.5) SELECT count(*) FROM best NATURAL JOIN Scores s;",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9) SELECT sum(x) FROM n",
        "SELECT *, rank() OVER (PARTITION BY run_id ORDER BY score) AS r FROM variants QUALIFY r = 1",
        "SELECT * EXCLUDE (run_id) FROM variants UNION ALL BY NAME SELECT * FROM variants",
        "SELECT config_json::JSON->>'$.seed', regexp_extract(run_id, '\\d+') FROM runs",
        "SELECT list_transform(logits, lambda x: x + 1) FROM predictions LIMIT 3",
        "SELECT count(*) FROM predictions WHERE confidence < 0.9 AND run_id IN (SELECT run_id FROM runs)",
        "PIVOT scores ON task IN ('stsb') USING avg(value) GROUP BY variant_id",
        "UNPIVOT (SELECT score, retention FROM variants) ON COLUMNS(*)",
        "SUMMARIZE variants",
        "DESCRIBE SELECT * FROM runs",
        "SELECT DISTINCT ON (task) * FROM scores -- one each",
        "SELECT task, median(value), grouping(task) FROM scores GROUP BY ROLLUP (task) HAVING count(*) > 0",
        "SELECT a.x FROM (VALUES (1), (2)) a(x) CROSS JOIN LATERAL (SELECT a.x + 1)",
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM runs) THEN 1 END, 1 IS DISTINCT FROM 2, x FROM unnest([1, 2]) t(x)",
        "SELECT date_trunc('day', created) AS day, count(*) FROM runs GROUP BY ALL ORDER BY ALL",
    ],
)
def test_ordinary_sql_passes(confined, sql):
    query_rules.check(confined, sql, snapshot.SENTENCES)
    confined.execute(sql).fetchall()


REFUSED = {
    "COPY (SELECT 1) TO '{folder}/out.csv'": "must be a SELECT: got COPY",
    "COPY (SELECT 1) TO '{predictions}' (FORMAT parquet, USE_TMP_FILE false)": "must be a SELECT: got COPY",
    "EXPORT DATABASE '{folder}/out'": "must be a SELECT: got EXPORT",
    "SELECT * FROM read_csv('{folder}/secret.csv')": "cannot use read_csv()",
    "SELECT * FROM read_parquet('{predictions}')": "cannot use read_parquet()",
    "SELECT * FROM parquet_metadata('{predictions}')": "cannot use parquet_metadata()",
    "SELECT * FROM read_text('/etc/passwd')": "cannot use read_text()",
    "SELECT (SELECT content FROM read_blob('/etc/passwd'))": "cannot use read_blob()",
    "SELECT * FROM glob('/etc/*')": "cannot use glob()",
    "SELECT * FROM sniff_csv('/etc/passwd')": "cannot use sniff_csv()",
    "SELECT * FROM '{folder}/secret.csv'": "a query can read runs,",
    'SELECT * FROM "{folder}/secret.csv"': "a query can read runs,",
    "SELECT * FROM 'http://127.0.0.1:{port}/secret.csv'": "a query can read runs,",
    "SELECT * FROM read_csv('http://127.0.0.1:{port}/secret.csv')": "cannot use read_csv()",
    'WITH "{folder}/secret.csv" AS (SELECT 1) SELECT * FROM "{folder}/secret.csv"': "must be a plain new word",
    "SELECT * FROM (WITH pg_settings AS (SELECT 1) SELECT 1), pg_settings": "must be a plain new word",
    "ATTACH '{folder}/other.duckdb'": "must be a SELECT: got ATTACH",
    "SELECT * FROM read_duckdb('{folder}/other.duckdb', 'secret')": "cannot use read_duckdb()",
    "INSTALL httpfs": "must be a SELECT: got INSTALL",
    "LOAD httpfs": "must be a SELECT: got LOAD",
    "PRAGMA database_list": "must be a SELECT: got PRAGMA",
    "PRAGMA enable_profiling": "must be a SELECT: got PRAGMA",
    "SET threads = 8": "must be a SELECT: got SET",
    "/* SELECT */ SET enable_external_access = true": "must be a SELECT: got SET",
    "RESET lock_configuration": "must be a SELECT: got RESET",
    "SELECT 1; SELECT 2": "must be one statement: got 2",
    "SELECT 1; DROP TABLE runs": "must be",
    "CREATE TABLE mine AS SELECT 1": "must be a SELECT: got CREATE",
    "CREATE MACRO f() AS getenv('HOME')": "must be a SELECT: got CREATE",
    "INSERT INTO runs (run_id) VALUES ('x')": "must be a SELECT: got INSERT",
    "DELETE FROM runs": "must be a SELECT: got DELETE",
    "UPDATE runs SET state = 'x'": "must be a SELECT: got UPDATE",
    "WITH gone AS (DELETE FROM runs RETURNING *) SELECT * FROM gone": "must",
    "CALL enable_logging('QueryLog', storage = 'file')": "must be a SELECT: got CALL",
    "SELECT * FROM enable_logging('QueryLog', storage = 'file', storage_path = '{folder}/log')": "cannot use enable",
    "SELECT write_log('x')": "cannot use write_log()",
    "SELECT getenv('HOME')": "cannot use getenv()",
    "SELECT current_setting('home_directory')": "cannot use current_setting()",
    "SELECT getvariable('x')": "cannot use getvariable()",
    "SELECT * FROM duckdb_secrets()": "cannot use duckdb_secrets()",
    "SELECT * FROM which_secret('s3://x', 's3')": "cannot use which_secret()",
    "SELECT * FROM duckdb_settings()": "cannot use duckdb_settings()",
    "SELECT (SELECT any_value(value) FROM duckdb_settings())": "cannot use duckdb_settings()",
    "SELECT * FROM pg_settings": "a query can read runs,",
    "SELECT * FROM information_schema.tables": "a query can read runs,",
    "SELECT * FROM rows_of_predictions": "a query can read runs,",
    "SELECT * FROM query('SELECT * FROM duckdb_settings()')": "cannot use query()",
    "SELECT * FROM query_table('duckdb_settings')": "cannot use query_table()",
    "SELECT * FROM json_execute_serialized_sql('{{}}')": "cannot use json_execute_serialized_sql()",
    "SELECT * FROM arrow_scan(1, 2, 3)": "cannot use arrow_scan()",
    "SELECT * FROM python_map_function((SELECT 1))": "cannot use python_map_function()",
    "SHOW ALL TABLES": "got SHOW",
    "EXPLAIN ANALYZE SELECT 1": "must be a SELECT: got EXPLAIN",
    "BEGIN": "must be a SELECT: got BEGIN",
    "PREPARE p AS SELECT 1": "must be a SELECT: got PREPARE",
    "": "must hold text",
    "-- nothing": "must",
    "SELECT '" + "x" * 30_000 + "'": "at most 20000 characters",
    "SELEC 1": "must be valid SQL",
    "SELECT foo(1)": "must be a known one",
}


@pytest.fixture
def address():
    """Serve a file to whoever asks, and remember that they did."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"a,b\n1,hunter2\n")

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()


def _filled(sql, folder, taken, port=0):
    return sql.format(folder=folder, predictions=taken.files[snapshot.PREDICTIONS][0]["path"], port=port)


@pytest.mark.parametrize(("sql", "reason"), REFUSED.items())
def test_every_other_statement_is_refused_in_one_sentence(confined, taken, folder, sql, reason):
    with pytest.raises(UserError) as refused:
        query_rules.check(confined, _filled(sql, folder, taken), snapshot.SENTENCES)
    said = str(refused.value)
    assert reason in said
    assert "\n" not in said


@pytest.mark.parametrize("sql", [sql for sql in REFUSED if len(sql) < 1000])
def test_duckdb_itself_lets_nothing_in_or_out(confined, taken, folder, address, sql):
    """The second wall: were the judge of queries mistaken, no file and no host would be touched."""
    port, asked = address
    before = everything_in(folder)
    try:
        result = confined.execute(_filled(sql, folder, taken, port))
        rows = result.fetchall() if result is not None else []
    except duckdb.Error:
        rows = []
    assert "hunter2" not in str(rows)
    assert "root:" not in str(rows)
    assert everything_in(folder) == before
    assert asked == []


def test_settings_cannot_be_unlocked(confined):
    for name in ("lock_configuration", "enable_external_access", "disabled_filesystems", "memory_limit", "threads"):
        for change in (
            f"SET {name} = DEFAULT",
            f"RESET {name}",
            f"SET GLOBAL {name} = '1'",
            f"SET SESSION {name} = '1'",
        ):
            with pytest.raises(duckdb.Error):
                confined.execute(change)


def test_python_names_are_no_tables(confined):
    leak = pa.table({"a": [1]})
    assert leak.num_rows == 1  # DuckDB would look for a variable of the name of an unknown table
    with pytest.raises(duckdb.CatalogException):
        confined.execute("SELECT * FROM leak")


PROCESS_ATTACKS = """
import sys
from pathlib import Path
from dqf.store.query_process import confine_process
confine_process()
try:
    with open(sys.argv[1], "w") as file:
        file.write("x" * 10_000)
    print("written")
except OSError as error:
    print("refused", error.errno)
try:
    print(len(bytearray(8_000_000_000)))
except MemoryError:
    print("no memory")
"""


def test_the_process_cannot_write_files_or_take_the_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROCESS_ATTACKS, str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["refused", "27", "no", "memory"], done.stderr[-500:]
    assert (tmp_path / "out").stat().st_size == 0


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n",
        # Each side fits into memory, their product takes days: only time can end it.
        "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = -1",
    ],
)
def test_an_endless_query_is_stopped(taken, sql):
    started = time.monotonic()
    with pytest.raises(UserError, match="can take 2 s: this one was stopped"):
        sandbox.ask(taken, sql, sandbox.Limits(time_ms=2000))
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "sql",
    ["SELECT list(range) FROM range(10000000000)", "SELECT a.range FROM range(100000000) a ORDER BY hash(a.range)"],
)
def test_a_greedy_query_is_refused(taken, sql):
    with pytest.raises(UserError, match="can use 200 MB of memory"):
        sandbox.ask(taken, sql, sandbox.Limits(memory_mb=200, time_ms=60_000))


def test_a_huge_result_is_refused(taken):
    with pytest.raises(UserError, match="must be smaller than 5 MB"):
        sandbox.ask(taken, "SELECT repeat('x', 1000000) FROM range(100)", sandbox.Limits(result_bytes=5_000_000))


def test_a_dead_process_is_a_sentence_and_the_next_query_works(taken, monkeypatch):
    monkeypatch.setattr(sandbox, "_start", lambda: _program("import os; os.abort()"))
    with pytest.raises(UserError, match="could not start"):
        sandbox.ask(taken, "SELECT 1")
    monkeypatch.setattr(sandbox, "_start", lambda: _program("print('ready', flush=True); import os; os.abort()"))
    with pytest.raises(UserError, match="of memory: this one needs more"):
        sandbox.ask(taken, "SELECT 1")
    monkeypatch.undo()
    assert sandbox.ask(taken, "SELECT 1").table.num_rows == 1


def _program(text):
    return subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_spare_process_is_used_and_ends_with_its_parent(taken):
    sandbox.warm()
    spare = sandbox._spares.get_nowait()
    sandbox._spares.put(spare)
    sandbox.warm()
    assert sandbox._spares.qsize() == 1
    assert sandbox.ask(taken, "SELECT 1").table.num_rows == 1
    assert spare.poll() is not None
    left = sandbox._start()
    left.stdin.close()  # what the end of this process would do
    assert left.wait(60) == 0
    left.stdout.close()


def test_a_run_deleted_after_the_snapshot_costs_only_its_rows(taken, folder, tmp_path):
    shutil.copytree(folder / "results", tmp_path / "results")
    settings = load_settings(tmp_path / "results")
    (settings.results_dir / "dqf.duckdb").unlink(missing_ok=True)
    store = Store.open(settings)
    sync(store, settings)
    own = snapshot.take(store)
    store.close()
    files = own.files[snapshot.PREDICTIONS]
    gone = files[0]["run_id"]
    shutil.rmtree(settings.runs_dir / gone)
    found = sandbox.ask(own, "SELECT DISTINCT run_id FROM predictions").table.column("run_id").to_pylist()
    assert found == [one for one in {file["run_id"] for file in files} if one != gone]


def test_columns_are_those_that_queries_see(studied):
    described = snapshot.columns(studied)
    assert list(described) == list(snapshot.SENTENCES)
    for name, rows in described.items():
        answer = sandbox.ask(studied, f"DESCRIBE SELECT * FROM {name}").table.to_pydict()
        assert [row[0] for row in rows] == answer["column_name"]
        assert [row[1] for row in rows] == [kind.lower() for kind in answer["column_type"]]
    used = {row[0] for rows in described.values() for row in rows}
    assert set(snapshot.MEANINGS) <= used


@pytest.fixture(scope="module")
def studied(folder, tmp_path_factory):
    """Return what queries read beside two studies, one of them broken."""
    mine = write_example_study(tmp_path_factory.mktemp("studies") / "mine")
    broken = tmp_path_factory.mktemp("broken")
    (broken / "variants.parquet").write_bytes(b"no")
    settings = load_settings(folder / "results")
    store = Store.open(settings)
    sync(store, settings)
    taken = snapshot.take(store, [mine, broken])
    store.close()
    return taken


def test_predictions_of_studies_give_the_scores_of_their_summary(studied):
    path = Path(studied.files[snapshot.STUDY_PREDICTIONS][0]["path"]).parents[1]
    summary = json.loads((path / "summary.json").read_text())
    frame = sandbox.ask(
        studied,
        """SELECT task, avg((label = prediction)::INT) AS accuracy, count(*) AS n, avg(confidence) AS confidence
           FROM study_predictions JOIN study_variants USING (study, condition, task, seed, variant, bits)
           WHERE study = 'mine' AND variant = 'student-dqf' AND bits = '4' AND metric = 'accuracy' GROUP BY task""",
    ).table.to_pandas()
    rows = {row["task"]: row for row in summary["bits"]["4"]["tasks"] if row["metric"] == "accuracy"}
    assert set(frame["task"]) == set(rows)
    for row in frame.to_dict("records"):
        assert row["accuracy"] == pytest.approx(rows[row["task"]]["score"])
        assert row["n"] == rows[row["task"]]["n"] * len(rows[row["task"]]["seeds"])
        assert 0.5 < row["confidence"] <= 1


def test_without_studies_their_tables_are_unknown(taken):
    with pytest.raises(UserError, match="a query can read runs, variants, scores, stages, predictions: got"):
        sandbox.ask(taken, "SELECT * FROM study_predictions")


def test_queries_import_neither_torch_nor_streamlit():
    program = "import sys, dqf.store.sandbox, dqf.store.query_process; print({'torch', 'streamlit'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr[-500:]
