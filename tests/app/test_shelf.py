"""The Shelf page: things to take, deleting only after a second yes, clean-up."""

from __future__ import annotations

import json

import pytest

from dqf.exporting.places import variant_of
from tests.app.conftest import everything
from tests.support.example_artifacts import EVIL, write_example_artifact, write_example_export
from tests.support.example_runs import write_example_run

VARIANT = "student-dqf-gptq-4bit"


@pytest.fixture
def run(settings):
    run_dir = write_example_run(settings.runs_dir, n=20)
    write_example_artifact(run_dir, VARIANT)
    write_example_export(variant_of(run_dir, VARIANT), "fp16-safetensors", note=EVIL)
    return run_dir


def test_what_lies_there_is_listed_with_size_and_form(open_page, run):
    app = open_page("shelf", run=run.name)
    assert not app.exception
    text = everything(app)
    assert "Student-DQF 4-bit GPTQ · Packed artifact" in text
    assert "Student-DQF 4-bit GPTQ · FP16 safetensors" in text
    assert "MB in 4 files" in text


def test_deleting_asks_first_and_says_what_goes(open_page, run):
    app = open_page("shelf", run=run.name)
    key = f"{run.name}_{VARIANT}_dqf"
    app.button(key=f"shelf_delete_{key}").click().run()
    assert "Delete this artifact and 1 export made from it for good?" in everything(app)
    assert (run / "artifacts" / VARIANT).is_dir()
    app.button(key=f"shelf_keep_{key}").click().run()
    assert "for good?" not in everything(app)
    assert (run / "artifacts" / VARIANT).is_dir()
    app.button(key=f"shelf_delete_{key}").click().run()
    app.button(key=f"shelf_sure_{key}").click().run()
    assert not app.exception
    assert not (run / "artifacts" / VARIANT).exists()
    assert not list((run / "exports").glob(f"{VARIANT}-*"))
    assert "No artifact is here" in everything(app)


def test_a_committed_run_is_not_changed(open_page, settings):
    run = write_example_run(settings.reference_dir, n=20)
    write_example_artifact(run, VARIANT)
    app = open_page("shelf", run=run.name)
    app.button(key=f"shelf_delete_{run.name}_{VARIANT}_dqf").click().run()
    app.button(key=f"shelf_sure_{run.name}_{VARIANT}_dqf").click().run()
    assert "a committed run is not changed from here" in everything(app)
    assert (run / "artifacts" / VARIANT).is_dir()


def test_clean_up_says_what_it_frees_and_keeps_what_is_needed(open_page, settings, run):
    key = json.loads((run / "result.json").read_text())["stages"][1]["key"]
    for name in (key, "f" * 24):
        (settings.cache_dir / "teacher" / name).mkdir(parents=True)
        (settings.cache_dir / "teacher" / name / "model.safetensors").write_bytes(b"x" * 2_000_000)
    app = open_page("shelf", view="Disk use")
    assert not app.exception
    assert app.button(key="shelf_clean").label == "Clean up 1 entry, 2.00\u00a0MB"
    table = app.dataframe[0].value
    assert table["Nothing needs it (MB)"].tolist() == [2.0]
    assert table["Recorded runs were made from it (MB)"].tolist() == [2.0]
    app.button(key="shelf_clean").click().run()
    assert not app.exception
    assert (settings.cache_dir / "teacher" / key).is_dir()
    assert not (settings.cache_dir / "teacher" / ("f" * 24)).exists()
    assert app.button(key="shelf_clean").disabled
    (run / "result.json").write_text("{")
    app = open_page("shelf", view="Disk use")
    assert not app.exception


def test_cards_are_never_markdown(open_page, run):
    app = open_page("shelf", run=run.name)
    shown = [one.value for kind in ("markdown", "caption", "warning", "info") for one in app.get(kind)]
    assert not any("example.org" in str(value) for value in shown)
