"""The Playground page: real answers of real artifacts, stored ones where there are none, and sentences otherwise."""

from __future__ import annotations

import os
import signal

import pandas as pd
import pytest

from dqf.serving.shared import ensure_serving, stop_serving
from tests.app.conftest import everything
from tests.support.example_artifacts import EVIL
from tests.support.served_runs import SERVED, write_served_run


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def served(settings, scratch):
    yield write_served_run(settings.runs_dir, scratch)
    stop_serving()


def test_a_typed_text_is_answered_by_every_variant(open_page, settings, served):
    app = open_page("playground", run=served.name, variant=list(SERVED), text="the film was great")
    assert app.button(key="playground_ask").label == "Ask 3 variants"
    app.button(key="playground_ask").click().run()
    assert not app.exception
    table = app.dataframe[0].value
    assert table["Variant"].tolist() == ["Teacher", "Student-KD", "Student-DQF 4-bit GPTQ"]
    assert set(table["Prediction"]) <= {"a", "b", "c"}
    assert (table["This call (ms)"] > 0).all()
    assert table["As the teacher"].tolist()[:2] == ["–", "✓ yes"]  # the same weights
    text = everything(app)
    assert "Asked just now on this machine" in text
    assert "3 models in memory" in text
    pids = ensure_serving(settings).pids()
    os.kill(pids[f"{served.name}/teacher"], signal.SIGKILL)
    app.button(key="playground_ask").click().run()
    again = ensure_serving(settings).pids()
    assert not app.exception
    assert again[f"{served.name}/teacher"] != pids[f"{served.name}/teacher"]
    assert again[f"{served.name}/student-kd"] == pids[f"{served.name}/student-kd"]
    app.button(key="playground_free").click().run()
    assert ensure_serving(settings).loaded() == {}


def test_another_text_does_not_keep_the_old_answer(open_page, served):
    app = open_page("playground", run=served.name, variant=["student-kd"], text="the film was great")
    app.button(key="playground_ask").click().run()
    assert app.dataframe
    app.text_area(key="text").set_value("a dull book").run()
    assert not app.dataframe
    app.text_area(key="text").set_value("   ").run()
    assert app.button(key="playground_ask").disabled


def test_stored_answers_of_an_example_need_no_model(open_page, filled):
    app = open_page("playground", run=filled["new"].name, example="3", **{"from": "Draw an example"})
    assert not app.exception
    text = everything(app)
    assert "Stored when the run was measured" in text
    assert "only its stored predictions can be read" in text
    assert "python -m dqf run --config" in text
    assert app.button(key="playground_ask").disabled
    assert app.button(key="playground_ask").label == "Ask the variants"
    stored = pd.read_parquet(filled["new"] / "predictions" / "teacher.parquet").iloc[3]
    names = ("business", "entertainment", "politics", "sport", "tech")
    assert app.dataframe[0].value["Prediction"].tolist()[0] == names[int(stored["prediction"])]
    assert f"The label is {names[int(stored['label'])]}." in text


def test_an_example_they_differ_on_is_drawn(open_page, filled):
    app = open_page("playground", run=filled["new"].name, **{"from": "Draw an example"})
    app.button(key="playground_differ").click().run()
    assert not app.exception
    assert app.dataframe[0].value["Prediction"].nunique() > 1


def test_numbers_are_shown_as_numbers(open_page, settings):
    from tests.support.example_runs import write_example_run

    run = write_example_run(settings.runs_dir, task="stsb", n=30)
    app = open_page("playground", run=run.name, example="2", **{"from": "Draw an example"})
    assert not app.exception
    assert "The teacher gives" in everything(app)
    assert "Off the teacher" in app.dataframe[0].value
    app = open_page("playground", run=run.name)
    assert [area.label for area in app.text_area] == ["First text", "Second text"]


def test_an_altered_artifact_is_one_sentence_and_the_others_answer(open_page, served):
    weights = served / "artifacts" / "teacher" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    app = open_page("playground", run=served.name, variant=list(SERVED), text="the film was great")
    app.button(key="playground_ask").click().run()
    assert not app.exception
    assert "Teacher: a file must be as it was exported" in everything(app)
    assert len(app.dataframe[0].value) == 2
    app = open_page("playground", run=served.name, variant=["student-ft", "student-kd"])
    assert "a variant's artifact must be here to be used" in everything(app)


def test_what_the_address_asks_for_is_checked_and_never_markdown(open_page, served):
    app = open_page("playground", run=EVIL, variant=[EVIL], text=EVIL)
    assert not app.exception
    shown = [one.value for kind in ("markdown", "caption", "warning", "info") for one in app.get(kind)]
    assert not any("example.org" in str(value) for value in shown)
    assert app.selectbox(key="playground_run").value == served.name


def test_a_table_goes_through_all_variants(open_page, served):
    rows = "id,sentence\n" + "".join(f"{i},the {word} was great\n" for i, word in enumerate(("film", "book") * 40))
    app = open_page("playground", run=served.name, variant=list(SERVED), ask="A table of texts")
    app.file_uploader[0].upload("mine.csv", rows.encode(), "text/csv").run()
    assert not app.exception
    assert app.selectbox[-1].value == "sentence"
    app.button(key="playground_ask_many").click().run()
    assert not app.exception
    summary, answers = app.dataframe[0].value, app.dataframe[1].value
    assert summary["n"].tolist() == [80, 80, 80]
    assert summary["As the teacher (%)"].tolist()[1] == 100
    assert answers["Text"].tolist()[:2] == ["the film was great", "the book was great"]
    assert answers["Teacher"].tolist() == answers["Student-KD"].tolist()
    app.file_uploader[0].upload("mine.csv", b"\xff\xfe\x00", "text/csv").run()
    assert "must be UTF-8" in everything(app)
