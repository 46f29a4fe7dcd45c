import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.settings import load_settings
from dqf.store import queries
from dqf.store.db import Store, migrations
from dqf.store.ingest import ingest_run, rebuild, sync
from tests.support.example_runs import write_example_run


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path / "results")


@pytest.fixture
def store(settings):
    store = Store.open(settings)
    yield store
    store.close()


def test_sync_takes_in_runs_of_all_states_and_references(settings, store):
    for state in protocol.STATES:
        write_example_run(settings.runs_dir, state=state)
    reference = write_example_run(settings.reference_dir, label="starter-cut", age_seconds=9000)
    assert sync(store, settings) == 8
    runs = queries.runs(store).set_index("run_id")
    assert sorted(runs.state) == sorted([*protocol.STATES, protocol.SUCCEEDED])
    assert list(runs.index[runs.reference]) == [reference.name]
    assert runs.index[-1] == reference.name
    assert set(runs.bits) == {"4"}
    assert runs.created.dt.tz is None
    assert (runs.error[runs.state.isin(["failed", "interrupted"])] != "").all()


def test_second_sync_changes_nothing_and_keeps_the_revision(settings, store):
    for state in ("succeeded", "running", "queued"):
        write_example_run(settings.runs_dir, state=state)
    before = store.revision
    assert sync(store, settings) == 3
    after = store.revision
    assert after > before
    assert sync(store, settings) == 0
    assert store.revision == after


def test_changed_state_is_taken_in(settings, store):
    run_dir = write_example_run(settings.runs_dir, state="queued")
    assert ingest_run(store, run_dir)
    assert not ingest_run(store, run_dir)
    protocol.request_cancel(run_dir)
    assert ingest_run(store, run_dir)
    assert list(queries.runs(store).state) == ["cancelled"]


def test_dead_worker_is_noticed_without_a_changed_file(settings, store):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run_dir = write_example_run(settings.runs_dir, state="running")
    import psutil

    worker = {"pid": child.pid, "create_time": psutil.Process(child.pid).create_time(), "started": 1.0}
    protocol.write_json(run_dir / "worker.json", worker)
    sync(store, settings)
    assert list(queries.runs(store).state) == ["running"]
    child.kill()
    child.communicate()
    assert sync(store, settings) == 1
    assert list(queries.runs(store).state) == ["interrupted"]


def test_variants_have_every_scalar_of_the_schema(settings, store):
    run_dir = write_example_run(settings.runs_dir, bits=(4, 2), task="cola")
    sync(store, settings)
    frame = queries.variants(store)
    result = protocol.read_json(run_dir / "result.json")
    nested = {"runtime_candidates", "fixed_lengths", "tasks", "verification"}
    for variant in result["variants"]:
        row = frame[frame.variant_id == variant["variant_id"]].iloc[0]
        for name in variant.keys() - nested:
            expected = variant[name]
            assert (row[name] == expected) or (expected is None and row.isna()[name]), name
    assert set(frame.task) == {"cola"}
    assert set(frame.metric) == {"matthews_corrcoef"}
    assert (frame.score_ci95_low <= frame.score).all()
    assert set(frame.hardware) == {"Example CPU"}
    assert set(frame.baseline_runtime) == {"openvino-bf16"}


def test_scores_stages_and_predictions(settings, store):
    run_dir = write_example_run(settings.runs_dir, n=50)
    sync(store, settings)
    assert len(queries.scores(store)) == 5
    with store.cursor() as cursor:
        assert cursor.execute("SELECT DISTINCT cache FROM stages").fetchall() == [("miss",)]
    rows = queries.predictions(store, run_dir.name, "student-kd")
    assert list(rows.columns) == ["idx", "label", "prediction", "logits"]
    assert len(rows) == 50
    with pytest.raises(UserError, match="recorded variant"):
        queries.predictions(store, run_dir.name, "student-xx")


def test_predictions_that_cannot_be_read_are_refused_in_a_sentence(settings, store):
    run_dir = write_example_run(settings.runs_dir)
    sync(store, settings)
    (run_dir / "predictions" / "teacher.parquet").write_bytes(b"not parquet")
    pd.DataFrame({"other": [1]}).to_parquet(run_dir / "predictions" / "student-kd.parquet")
    for variant in ("teacher", "student-kd"):
        with pytest.raises(UserError, match=f"must be a readable parquet file: 'predictions/{variant}"):
            queries.predictions(store, run_dir.name, variant)


def test_predictions_outside_the_run_are_refused(settings, store, tmp_path):
    run_dir = write_example_run(settings.runs_dir)
    result = protocol.read_json(run_dir / "result.json")
    (tmp_path / "secret.parquet").write_bytes(b"x")
    result["variants"][0]["predictions"] = "../../../secret.parquet"
    protocol.write_json(run_dir / "result.json", result)
    sync(store, settings)
    with pytest.raises(UserError, match="inside their run"):
        queries.predictions(store, run_dir.name, "teacher")


def test_removed_run_leaves_the_store(settings, store):
    run_dir = write_example_run(settings.runs_dir)
    sync(store, settings)
    (run_dir / "config.json").unlink()
    assert sync(store, settings) == 1
    assert queries.runs(store).empty
    assert queries.variants(store).empty
    assert queries.scores(store).empty


def test_rebuild_gives_the_same_content(settings, store):
    write_example_run(settings.runs_dir, bits=(8, 4))
    sync(store, settings)
    before, revision = queries.variants(store), store.revision
    assert rebuild(store, settings) == 1
    assert queries.variants(store).equals(before)
    assert store.revision > revision


@pytest.mark.parametrize(
    "content",
    ["", "[", "[]", '{"variants": 3}', '{"variants": [1, {"variant_id": 5, "bits": "x", "tasks": {"a": 1}}]}'],
)
def test_strange_result_is_taken_in_as_far_as_it_goes(settings, store, content):
    run_dir = write_example_run(settings.runs_dir)
    (run_dir / "result.json").write_text(content)
    good = write_example_run(settings.runs_dir)
    assert sync(store, settings) == 2
    assert set(queries.runs(store).run_id) == {run_dir.name, good.name}
    assert len(queries.variants(store)) >= 5


def test_garbage_directories_are_ignored(settings, store):
    (settings.runs_dir / "20260101-000000-x-0000").mkdir(parents=True)
    (settings.runs_dir / "notes").mkdir()
    (settings.runs_dir / "20260101-000000-y-0000").write_text("a file")
    odd = settings.runs_dir / "20260101-000000-z-0000"
    odd.mkdir()
    (odd / "config.json").write_text('["no config"]')
    assert sync(store, settings) == 1
    assert list(queries.runs(store).task) == [""]


def test_failed_transaction_changes_nothing(settings, store):
    write_example_run(settings.runs_dir)
    sync(store, settings)
    revision = store.revision

    def change_and_fail():
        with store.transaction() as cursor:
            cursor.execute("DELETE FROM runs")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()
    assert len(queries.runs(store)) == 1
    assert store.revision == revision


def test_reopened_store_keeps_runs_and_migrates_once(settings):
    write_example_run(settings.runs_dir)
    store = Store.open(settings)
    sync(store, settings)
    revision = store.revision
    store.close()
    store = Store.open(settings)
    assert len(queries.runs(store)) == 1
    assert store.revision == revision
    with store.cursor() as cursor:
        assert cursor.execute("SELECT number FROM migrations").fetchall() == [(n,) for n, _, _ in migrations()]
    store.close()


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated", "flipped"])
def test_broken_database_is_set_aside_and_rebuilt(settings, damage):
    write_example_run(settings.runs_dir)
    store = Store.open(settings)
    sync(store, settings)
    store.close()
    good = settings.database.read_bytes()
    settings.database.write_bytes(
        {
            "garbage": b"no database" * 500,
            "empty": b"",
            "truncated": good[:5000],
            "flipped": good[:12288] + b"\xff" * 900 + good[13188:],
        }[damage]
    )
    store = Store.open(settings)
    assert len(queries.variants(store)) == 5
    store.close()
    assert list(settings.results_dir.glob("dqf.duckdb.broken-*"))


def test_database_of_a_newer_version_is_set_aside(settings):
    store = Store.open(settings)
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO migrations VALUES (9999, 'later', now()::TIMESTAMP)")
    store.close()
    Store.open(settings).close()
    assert list(settings.results_dir.glob("dqf.duckdb.broken-*"))


def test_database_that_is_a_directory_is_refused(settings):
    settings.database.mkdir(parents=True)
    with pytest.raises(UserError, match="must be a file"):
        Store.open(settings)


def test_store_held_by_another_process_names_the_holder(settings):
    code = "import sys; from dqf.settings import load_settings; from dqf.store.db import Store\n"
    code += "store = Store.open(load_settings(sys.argv[1])); print('open', flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.results_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert holder.stdout.readline().strip() == b"open"
        with pytest.raises(UserError) as refused:
            Store.open(settings)
    finally:
        holder.kill()
        holder.communicate()
    assert f"process {holder.pid} (" in str(refused.value)
    assert "\n" not in str(refused.value)
    Store.open(settings).close()
    assert not list(settings.results_dir.glob("*broken*"))


def test_threads_may_ask_while_another_writes(settings, store):
    for _ in range(4):
        write_example_run(settings.runs_dir)
    sync(store, settings)
    faults = []

    def ask():
        for _ in range(10):
            frame = queries.variants(store)
            if len(frame) % 5:
                faults.append(len(frame))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        write_example_run(settings.runs_dir)
        sync(store, settings)
    for thread in threads:
        thread.join()
    assert not faults


def test_two_threads_may_sync_at_once(settings, store):
    for _ in range(6):
        write_example_run(settings.runs_dir)
    counts = []
    threads = [threading.Thread(target=lambda: counts.append(sync(store, settings))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [0, 0, 6]


def test_store_imports_neither_torch_nor_streamlit():
    code = "import sys, json, dqf.store.queries, dqf.jobs.supervisor, dqf.jobs.actions;"
    code += "print(json.dumps([m for m in ('torch', 'streamlit', 'transformers') if m in sys.modules]))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
from dqf.settings import load_settings
from dqf.store import queries
from dqf.store.db import Store
from dqf.store.ingest import sync
from tests.support.example_runs import write_example_run

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
settings = load_settings(Path(sys.argv[1]))
write_example_run(settings.runs_dir, seed=1)
store = Store.open(settings)
assert sync(store, settings) == 1
for seed in range(2, 5):
    write_example_run(settings.runs_dir, seed=seed, age_seconds=seed)
log = settings.database.with_name(settings.database.name + ".wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (log + 2000, resource.RLIM_INFINITY))
assert sync(store, settings) == 0
assert len(queries.runs(store)) == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert sync(store, settings) == 3
store.close()
store = Store.open(settings)
assert sync(store, settings) == 0
assert len(queries.runs(store)) == 4
"""


def test_a_disk_that_fills_up_in_a_commit_loses_nothing_and_the_store_goes_on_once_there_is_space(tmp_path):
    (tmp_path / "runs").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(tmp_path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "File too large" in done.stderr
    assert "cannot rollback" not in done.stderr
