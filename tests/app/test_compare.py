"""Compare: tests, task bars and the flip explorer."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from dqf.config import RunConfig
from dqf.data.load import load_task
from dqf.settings import load_settings
from dqf.ui.compare import flips
from tests.app.conftest import everything
from tests.support.example_runs import write_example_run


def picks(run, *variants):
    return [f"{run.name}/{variant}" for variant in variants]


def tables(app):
    return [element.value for element in app.dataframe]


def table_with(app, column):
    return next(table for table in tables(app) if column in table)


def predictions(run, variant):
    return pd.read_parquet(run / "predictions" / f"{variant}.parquet")


THREE = ("teacher", "student-kd", "student-dqf-gptq-2bit")


def test_differences_are_tested_against_the_teacher_or_for_every_pair(open_page, filled):
    app = open_page("compare", pick=picks(filled["new"], *THREE))
    assert not app.exception
    table = table_with(app, "p, corrected")
    assert table["Variant"].tolist() == ["Student-KD", "Student-DQF 2-bit GPTQ"]
    teacher, other = predictions(filled["new"], "teacher"), predictions(filled["new"], THREE[2])
    right, now = teacher["label"] == teacher["prediction"], other["label"] == other["prediction"]
    assert table["Lost"].tolist()[1] == int((right & ~now).sum())
    assert table["Won"].tolist()[1] == int((~right & now).sum())
    assert table["Difference (pp)"].tolist()[1] == pytest.approx(100 * (now.mean() - right.mean()))
    assert "of 2 comparisons show a difference" in everything(app)
    app.selectbox(key="compare_against").select("").run()
    assert len(table_with(app, "p, corrected")) == 3


def test_variants_of_other_examples_are_not_tested(open_page, filled):
    app = open_page("compare", pick=[*picks(filled["new"], "teacher"), *picks(filled["sst2"], "teacher")])
    assert not app.exception
    assert "Tests need two variants that were scored on the same examples" in everything(app)
    assert "Task by task" in everything(app)


def test_flips_are_counted_filtered_and_read(open_page, filled):
    run = filled["new"]
    app = open_page("compare", pick=picks(run, *THREE))
    teacher, other = predictions(run, "teacher"), predictions(run, THREE[2])
    lost = (teacher["label"] == teacher["prediction"]) & (other["label"] != other["prediction"])
    values = {metric.label: metric.value for metric in app.metric}
    assert values[flips.LOST] == str(int(lost.sum()))
    app.segmented_control(key="flip_kind").set_value(flips.LOST).run()
    assert not app.exception
    table = table_with(app, "Confidence, to")
    assert set(table["Example"]) == set(teacher["idx"][lost])
    assert set(table["Change"]) == {flips.LOST}
    assert set(table["True label"]) <= {"business", "entertainment", "politics", "sport", "tech"}


def test_texts_that_are_not_the_runs_own_are_not_shown(open_page, filled):
    """The example run says another SHA-256 than the headlines on this machine have."""
    app = open_page("compare", pick=picks(filled["new"], *THREE))
    assert "The texts cannot be shown on this machine" in everything(app)
    assert "must be the run's own" in everything(app)
    assert "Text" not in table_with(app, "Confidence, to")


def test_texts_are_read_beside_both_answers_and_never_as_markdown(open_page, settings, monkeypatch, tmp_path):
    evil = "![x](https://example.org/x.png) <b>bold</b>"
    folder = tmp_path / "data" / "glue" / "sst2"
    folder.mkdir(parents=True)
    run = write_example_run(settings.runs_dir, task="sst2", n=80)
    labels = predictions(run, "teacher")["label"].tolist()
    texts = [f"{evil} number {i}" for i in range(80)]
    pd.DataFrame({"sentence": texts, "label": labels}).to_parquet(folder / "validation.parquet")
    pd.DataFrame({"sentence": texts, "label": labels}).to_parquet(folder / "train.parquet")
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path / "data"))
    result = json.loads((run / "result.json").read_text())
    task = load_task(RunConfig.from_dict(result["config"]), load_settings())
    result["task"]["data_sha256"] = task.fingerprint()
    (run / "result.json").write_text(json.dumps(result))
    app = open_page("compare", pick=picks(run, "teacher", "student-kd"))
    assert not app.exception
    table = table_with(app, "Confidence, to")
    assert [f"{evil} number {example}" for example in table["Example"]] == table["Text"].tolist()
    assert table["Text"][0] in [element.value for element in app.text]
    markdown = [e.value for kind in ("markdown", "caption", "error", "warning", "info") for e in app.get(kind)]
    assert not any("example.org" in str(value) for value in markdown)


def test_numbers_have_no_right_and_wrong(open_page, settings):
    run = write_example_run(settings.runs_dir, task="stsb", n=80)
    app = open_page("compare", pick=picks(run, "teacher", "student-kd"))
    assert not app.exception
    assert {flips.CLOSER, flips.FURTHER} <= {metric.label for metric in app.metric}
    assert table_with(app, "p, corrected")["Test"].tolist() == ["Paired bootstrap"]


def test_missing_predictions_are_a_sentence(open_page, filled):
    (filled["new"] / "predictions" / "student-kd.parquet").unlink()
    app = open_page("compare", pick=picks(filled["new"], *THREE))
    assert not app.exception
    assert "Not every variant's predictions can be read." in everything(app)
    assert table_with(app, "p, corrected")["Variant"].tolist() == ["Student-DQF 2-bit GPTQ"]


def test_every_score_and_retention_has_its_interval(open_page, filled):
    app = open_page("compare", pick=picks(filled["new"], *THREE))
    table = tables(app)[0]
    result = json.loads((filled["new"] / "result.json").read_text())
    by_id = {variant["variant_id"]: variant for variant in result["variants"]}
    for column, low, high in (
        ("Retention 95 % CI", "retention_ci95_low", "retention_ci95_high"),
        ("bbc-headlines 95 % CI", "ci95_low", "ci95_high"),
    ):
        row = by_id[THREE[2]] if low.startswith("retention") else by_id[THREE[2]]["tasks"]["bbc-headlines"]
        assert table[column][2] == f"{100 * row[low]:.1f}–{100 * row[high]:.1f}"
    assert table["Retention 95 % CI"][0] == "–"
