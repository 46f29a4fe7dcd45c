"""The Scenarios page cites the rows it judges."""

from __future__ import annotations

import json

from tests.app.conftest import everything
from tests.support.example_artifacts import EVIL


def test_every_scenario_cites_a_row_and_the_textbook(open_page, filled):
    app = open_page("scenarios", run=filled["new"].name, within="10.0")
    assert not app.exception
    text = everything(app)
    for word in ("Cloud", "Edge", "Real-time", "Mobile"):
        assert word in text
    assert text.count(f"Row {filled['new'].name}/student-") == 4
    assert text.count("Quantize to") == 2
    assert "Example CPU, 2 threads" in text
    assert len(app.dataframe[0].value) == 11


def test_all_runs_of_a_task_can_be_judged_together(open_page, filled):
    app = open_page("scenarios", run=filled["new"].name, together="true")
    assert not app.exception
    table = app.dataframe[0].value
    assert set(table["Run"]) == {filled["new"].name, filled["old"].name}


def test_a_run_whose_machine_is_not_known_is_judged_with_its_like(open_page, filled):
    path = filled["new"] / "result.json"
    result = json.loads(path.read_text())
    result["environment"].update(cpu=None, threads=None)
    result["baseline"].update(hardware=None, threads=None)
    path.write_text(json.dumps(result))
    app = open_page("scenarios", run=filled["new"].name, together="true")
    assert not app.exception
    assert set(app.dataframe[0].value["Run"]) == {filled["new"].name}


def test_a_strict_limit_leaves_nothing_and_says_so(open_page, filled):
    assert "No verified student holds the allowed loss" in everything(
        open_page("scenarios", run=filled["sst2"].name, within="0.5")
    )


def test_names_from_outside_are_never_markdown(open_page, settings, filled):
    path = filled["new"] / "result.json"
    result = json.loads(path.read_text())
    for row in result["variants"]:
        if row["variant"] != "teacher":
            row |= {"variant_id": f"{row['variant_id']} {EVIL}", "variant": EVIL}
    path.write_text(json.dumps(result))
    app = open_page("scenarios", run=filled["new"].name, within="10.0")
    assert not app.exception
    shown = [one.value for kind in ("markdown", "caption", "warning", "info") for one in app.get(kind)]
    assert not any("example.org" in str(value) for value in shown)
