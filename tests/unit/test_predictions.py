import json
import shutil

import numpy as np
import pandas as pd
import pytest

from dqf.settings import load_settings
from dqf.store import ingest, queries, snapshot
from dqf.store.db import Store
from dqf.store.ingest import ingest_run, rebuild, sync
from dqf.store.predictions import prediction_files
from tests.support.example_runs import write_example_run


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path / "it's [odd]*" / "results")


@pytest.fixture
def store(settings):
    store = Store.open(settings)
    yield store
    store.close()


def ask(store, sql):
    with store.cursor() as cursor:
        return cursor.execute(sql).df()


def test_an_empty_store_has_an_empty_view(settings, store):
    sync(store, settings)
    frame = ask(store, "SELECT * FROM predictions")
    assert list(frame) == ["run_id", "variant_id", "task", "idx", "label", "prediction", "logits", "confidence"]
    assert frame.empty


def test_view_holds_every_row_of_runs_and_references(settings, store):
    run = write_example_run(settings.runs_dir, bits=(4, 2), n=60)
    reference = write_example_run(settings.reference_dir, task="stsb", n=50, age_seconds=900)
    sync(store, settings)
    counts = ask(store, "SELECT run_id, task, count(*) AS n FROM predictions GROUP BY ALL").set_index("run_id")
    assert dict(counts["n"]) == {run.name: 7 * 60, reference.name: 5 * 50}
    assert dict(counts["task"]) == {run.name: "bbc-headlines", reference.name: "stsb"}


def test_figures_recomputed_by_sql_are_those_of_the_result(settings, store):
    run = write_example_run(settings.runs_dir, n=200)
    sync(store, settings)
    by_sql = ask(
        store,
        """SELECT variant_id, avg((label = prediction)::INT) AS accuracy, any_value(score) AS score
           FROM predictions JOIN variants USING (run_id, variant_id) GROUP BY variant_id""",
    )
    assert len(by_sql) == 5
    np.testing.assert_allclose(by_sql["accuracy"], by_sql["score"])
    teacher = queries.predictions(store, run.name, "teacher")
    confidence = ask(store, "SELECT confidence FROM predictions WHERE variant_id = 'teacher' ORDER BY idx")[
        "confidence"
    ]
    logits = np.stack(list(teacher["logits"]))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(confidence, softmax.max(axis=1), rtol=1e-5)


def test_numbers_keep_their_fractions_beside_classes_and_have_no_confidence(settings, store):
    run = write_example_run(settings.runs_dir, task="stsb", n=50)
    write_example_run(settings.runs_dir, n=50, age_seconds=9000)
    sync(store, settings)
    by_sql = ask(
        store, f"SELECT * FROM predictions WHERE run_id = '{run.name}' AND variant_id = 'teacher' ORDER BY idx"
    )
    written = queries.predictions(store, run.name, "teacher")
    np.testing.assert_allclose(by_sql["prediction"], written["prediction"])
    assert by_sql["confidence"].isna().all()


def test_a_file_may_name_the_task_of_each_row(settings, store):
    run = write_example_run(settings.runs_dir, n=40)
    path = run / "predictions" / "teacher.parquet"
    pd.read_parquet(path).assign(task=["cola"] * 10 + ["rte"] * 30).to_parquet(path)
    sync(store, settings)
    counts = ask(store, "SELECT task, count(*) AS n FROM predictions WHERE variant_id = 'teacher' GROUP BY task")
    assert dict(zip(counts["task"], counts["n"], strict=True)) == {"cola": 10, "rte": 30}
    assert len(ask(store, "SELECT * FROM predictions WHERE task = 'bbc-headlines'")) == 4 * 40


def test_a_part_scored_beside_the_task_is_a_task_of_its_own(settings, store):
    run = write_example_run(settings.runs_dir, task="mnli", n=40)
    result = json.loads((run / "result.json").read_text())
    part = "predictions/mnli-mismatched/teacher.parquet"
    (run / part).parent.mkdir()
    pd.read_parquet(run / "predictions" / "teacher.parquet").head(25).to_parquet(run / part)
    teacher = result["variants"][0]
    teacher["tasks"]["mnli-mismatched"] = {**teacher["tasks"]["mnli"], "n": 25, "extra": True, "predictions": part}
    (run / "result.json").write_text(json.dumps(result))
    sync(store, settings)
    counts = ask(store, "SELECT task, count(*) AS n FROM predictions WHERE variant_id = 'teacher' GROUP BY task")
    assert dict(counts.values) == {"mnli": 40, "mnli-mismatched": 25}
    assert set(ask(store, "SELECT task FROM predictions WHERE variant_id = 'student-ft'")["task"]) == {"mnli"}
    tables = snapshot.take(store)
    assert {one["run_task"] for one in tables.files[snapshot.PREDICTIONS]} == {"mnli", "mnli-mismatched"}


def test_deleted_broken_and_foreign_files_do_not_spoil_the_others(settings, store):
    kept = write_example_run(settings.runs_dir, n=40)
    gone = write_example_run(settings.runs_dir, n=40, age_seconds=900)
    sync(store, settings)
    shutil.rmtree(gone)
    (kept / "predictions" / "teacher.parquet").write_bytes(b"not parquet")
    pd.DataFrame({"other": [1]}).to_parquet(kept / "predictions" / "student-ft.parquet")
    (kept / "predictions" / "student-kd.parquet").unlink()
    assert {one.variant_id for one in prediction_files(store)} == {"student-ptq-gptq-4bit", "student-dqf-gptq-4bit"}
    assert sync(store, settings) == 1
    assert dict(ask(store, "SELECT run_id, count(*) AS n FROM predictions GROUP BY ALL").values) == {kept.name: 80}


def test_a_result_cannot_name_a_file_outside_its_run(settings, store, tmp_path):
    run = write_example_run(settings.runs_dir, n=40)
    shutil.copy(run / "predictions" / "teacher.parquet", tmp_path / "outside.parquet")
    result = json.loads((run / "result.json").read_text())
    result["variants"][0]["predictions"] = str(tmp_path / "outside.parquet")
    (run / "result.json").write_text(json.dumps(result))
    ingest_run(store, run)
    assert "teacher" not in {one.variant_id for one in prediction_files(store)}


def test_a_store_from_before_gets_the_view_without_reading_runs_again(settings, store):
    write_example_run(settings.runs_dir, n=40)
    sync(store, settings)
    with store.cursor() as cursor:
        cursor.execute("DROP VIEW predictions")
    assert sync(store, settings) == 0
    assert len(ask(store, "SELECT * FROM predictions")) == 5 * 40
    assert rebuild(store, settings) == 1
    assert len(ask(store, "SELECT * FROM predictions")) == 5 * 40


def test_the_view_is_made_anew_only_where_predictions_came_or_went(settings, store, monkeypatch):
    """Over many runs it takes seconds."""
    made = []
    monkeypatch.setattr(ingest, "refresh_view", lambda store, only_if_missing: made.append(not only_if_missing))
    queued = write_example_run(settings.runs_dir, state="queued")
    ingest_run(store, queued)
    write_example_run(settings.runs_dir, state="failed", seed=1)
    sync(store, settings)
    assert made == [False, False]
    done = write_example_run(settings.runs_dir, seed=2)
    ingest_run(store, done)
    shutil.rmtree(done)
    sync(store, settings)
    assert made == [False, False, True, True]
