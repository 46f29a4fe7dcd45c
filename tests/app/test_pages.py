"""Every page, empty and filled, shows what it should and never a traceback."""

from __future__ import annotations

import json

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from dqf.jobs import supervisor as supervisors
from tests.app.conftest import everything
from tests.support.example_runs import end_example_run, write_example_run

PAGES = {
    "overview": "DQF Studio",
    "launch": "Launch",
    "runs": "Runs",
    "frontier": "Frontier",
    "compare": "Compare",
    "scenarios": "Scenarios",
    "playground": "Playground",
    "reports": "Reports",
    "shelf": "Shelf",
    "sql": "SQL",
}


@pytest.mark.parametrize(("page", "title"), PAGES.items())
def test_page_of_an_empty_store(open_page, page, title):
    app = open_page(page)
    assert not app.exception
    assert app.title[0].value == title


@pytest.mark.parametrize("page", PAGES)
def test_a_variant_whose_result_lacks_fields_costs_no_page(open_page, settings, page):
    file = write_example_run(settings.runs_dir) / "result.json"
    result = json.loads(file.read_text())
    del result["variants"][2]["variant"], result["variants"][2]["runtime"], result["baseline"]["hardware"]
    del result["environment"]["cpu"]
    file.write_text(json.dumps(result))
    app = open_page(page)
    assert not app.exception
    assert "nan" not in everything(app).lower().split()


@pytest.mark.parametrize(("page", "title"), PAGES.items())
def test_page_of_a_filled_store(open_page, filled, page, title):
    app = open_page(page)
    assert not app.exception
    assert app.title[0].value == title


@pytest.mark.parametrize("page", PAGES)
def test_held_database_is_said_in_one_sentence_and_runs_still_show(open_page, settings, filled, page, monkeypatch):
    from dqf.errors import UserError
    from dqf.ui import studio

    def refuse(settings):
        raise UserError("the database dqf.duckdb can be used by one process at a time: it is held by process 1.")

    monkeypatch.setattr(studio, "ensure_supervisor", refuse)
    app = open_page(page)
    assert not app.exception
    assert "held by process 1" in everything(app)
    if page == "runs":
        assert app.selectbox(key="chosen_run").options[0] == filled["queued"].name
    if page == "overview":
        assert app.metric[0].value.endswith("MB")


def test_database_held_by_a_second_connection_does_not_break_pages(open_page, settings):
    settings.database.parent.mkdir(parents=True)
    settings.database.write_text("this is not a database")
    app = open_page("overview")
    assert not app.exception


def test_wrong_setting_is_one_sentence(open_page, monkeypatch):
    monkeypatch.setenv("DQF_THREADS", "many")
    app = open_page("overview")
    assert not app.exception
    assert "`DQF_THREADS` must be a positive whole number" in everything(app)


def test_overview_names_baseline_interval_and_n(open_page, filled):
    text = everything(open_page("overview"))
    assert filled["new"].name in text
    assert "95 % CI" in text
    assert "n 400" in text
    assert "Baseline: starter:smollm2-135m, FP16 weight file, timed in" in text
    assert "Published, simulated" in text


def test_overview_without_runs_offers_the_starter(open_page, settings):
    app = open_page("overview")
    assert "Nothing has been measured yet" in everything(app)
    assert "What you can do here" in everything(app)
    app.button(key="launch_starter").click().run()
    assert not app.exception
    runs = list(settings.runs_dir.iterdir())
    assert len(runs) == 1
    assert json.loads((runs[0] / "config.json").read_text())["preset"] == "starter"


def test_overview_while_the_first_run_works(open_page, settings):
    from tests.support.example_runs import write_example_run

    write_example_run(settings.runs_dir, state="running", age_seconds=30)
    assert "No run has finished yet" in everything(open_page("overview"))


def test_runs_opens_the_newest_or_the_one_in_the_address(open_page, filled):
    assert open_page("runs").selectbox(key="chosen_run").value == filled["queued"].name
    app = open_page("runs", run=filled["failed"].name)
    assert app.selectbox(key="chosen_run").value == filled["failed"].name
    assert "The run is failed." in everything(app)


@pytest.mark.parametrize(
    ("page", "box"), [("reports", "report_run"), ("scenarios", "scenario_run"), ("playground", "playground_run")]
)
def test_a_chosen_run_stays_in_the_address_and_one_that_is_gone_is_told(open_page, filled, page, box):
    """The default is the newest run, which is another one tomorrow."""
    app = open_page(page)
    assert app.query_params["run"] == app.selectbox(key=box).value == filled["new"].name
    app.selectbox(key=box).select(filled["old"].name).run()
    assert app.query_params["run"] == filled["old"].name
    app = open_page(page, run="20200101-000000-nothing-0000")
    assert "names a run without results" in everything(app)
    assert app.query_params["run"] == filled["new"].name


def test_a_link_that_is_followed_again_shows_the_same_again(open_page, filled):
    app = open_page("playground", run=filled["old"].name)
    for page in ("runs", "playground"):
        app.switch_page(f"pages/{page}.py")
        app.query_params["run"] = filled["old"].name
        app.run()
    assert app.selectbox(key="playground_run").value == filled["old"].name


def test_the_task_of_the_frontier_stays_in_the_address(open_page, filled):
    app = open_page("frontier")
    assert app.query_params["task"] == "bbc-headlines"
    assert "names a task without results" in everything(open_page("frontier", task="no-such-task"))


def test_a_selected_row_of_the_frontier_is_not_another_one_after_a_filter(open_page, filled):
    app = open_page("frontier", task="bbc-headlines")
    (key,) = (one for one in app.session_state._state.filtered_state if one.startswith("frontier_table"))
    app.session_state[key] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    assert app.button(key="add_to_basket").label == "Add 1 to basket"
    app.session_state["method"] = ["Student-DQF"]
    app.run()
    assert app.button(key="add_to_basket").label == "Add to basket"


def test_overview_of_failed_runs_alone_offers_to_launch(open_page, settings):
    from tests.support.example_runs import write_example_run

    write_example_run(settings.runs_dir, state="failed", age_seconds=30)
    app = open_page("overview")
    assert "first results will appear here" not in everything(app)
    assert app.button(key="launch_starter")


def test_runs_says_when_the_address_names_no_run(open_page, filled):
    text = everything(open_page("runs", run="20200101-000000-nothing-0000"))
    assert "names a run that does not exist" in text


def test_a_queued_run_says_what_it_waits_for(open_page, filled):
    """Else nobody sees why it does not begin while no run works."""
    assert f"It waits for {filled['running'].name} to end" in everything(open_page("runs", run=filled["queued"].name))


@pytest.mark.parametrize(
    ("which", "cancel", "resume", "retry"),
    [
        ("queued", True, False, False),
        ("running", True, False, False),
        ("failed", False, True, True),
        ("cancelled", False, True, True),
        ("interrupted", False, True, True),
        ("new", False, False, True),
    ],
)
def test_only_sensible_buttons_are_enabled(open_page, filled, which, cancel, resume, retry):
    app = open_page("runs", run=filled[which].name)
    enabled = [not app.button(key=key).disabled for key in ("cancel_run", "resume_run", "retry_run")]
    assert enabled == [cancel, resume, retry]


def test_buttons_do_what_they_say(open_page, settings, filled):
    open_page("runs", run=filled["queued"].name).button(key="cancel_run").click().run()
    assert (filled["queued"] / "cancel").exists()
    app = open_page("runs", run=filled["cancelled"].name)
    app.button(key="resume_run").click().run()
    assert not app.exception
    assert not (filled["cancelled"] / "cancel").exists()
    before = set(settings.runs_dir.iterdir())
    open_page("runs", run=filled["new"].name).button(key="retry_run").click().run()
    assert len(set(settings.runs_dir.iterdir()) - before) == 1


def test_finished_run_shows_results_and_config(open_page, filled):
    app = open_page("runs", run=filled["new"].name)
    tabs = ["Results", "Receipts", "Runtimes", "Take it elsewhere", "Stages and log", "Config"]
    assert [tab.label for tab in app.tabs] == tabs
    results = app.dataframe[1].value
    assert len(results) == 11
    assert results["Size (MB)"].notna().all()
    assert '"bits": [' in everything(open_page("runs", run=filled["new"].name, part="Config"))


def test_running_run_shows_progress(open_page, filled):
    text = everything(open_page("runs", run=filled["running"].name))
    assert "Running" in text
    assert "of 10 stages" in text


def test_names_from_outside_are_never_markdown(open_page, settings, filled):
    evil = "![x](https://example.org/x.png)"
    config = json.loads((filled["failed"] / "config.json").read_text())
    config["student"]["model"] = evil
    (filled["failed"] / "config.json").write_text(json.dumps(config))
    (filled["failed"] / "worker.log").write_text(evil)
    app = open_page("runs", run=filled["failed"].name)
    shown_as_markdown = [e.value for kind in ("markdown", "caption", "error", "warning", "info") for e in app.get(kind)]
    assert not any("example.org" in str(value) for value in shown_as_markdown)
    assert any("example.org" in element.value for element in app.code)


def test_frontier_filters_come_from_the_address(open_page, filled):
    app = open_page("frontier", x="Latency", y="Retention", method=["Student-DQF"], bits=["4-bit", "2-bit"])
    assert not app.exception
    table = app.dataframe[0].value
    assert set(table["Variant"].str.split(" ").str[:2].str.join(" ")) == {"Student-DQF 4-bit", "Student-DQF 2-bit"}
    assert "Fastest within 2 pp of the teacher" in everything(app)


def test_frontier_answer_is_a_sentence(open_page, filled):
    text = everything(open_page("frontier", within="10.0"))
    assert "Smallest within 10 pp of the teacher" in text
    assert "smaller" in text
    assert "against its teacher" in text


def test_frontier_without_a_match_says_so(open_page, filled):
    app = open_page("frontier", method=["Teacher"], bits=["2-bit"])
    assert "No variant passes these filters" in everything(app)


def test_compare_takes_the_basket_from_the_address(open_page, filled):
    keys = [f"{filled['new'].name}/teacher", f"{filled['new'].name}/student-dqf-gptq-4bit"]
    app = open_page("compare", pick=keys)
    assert not app.exception
    table = app.dataframe[0].value
    assert len(table) == 2
    assert {"Size (MB)", "× smaller", "p50 (ms)", "p90 (ms)", "× faster", "Retention (%)", "Params (M)"} <= set(table)
    assert app.dataframe[-1].value["Size"].tolist() == ["13.5 GB", "0.9 GB"]


def test_an_address_of_compare_asked_again_shows_the_same_again():
    """Others may have been put into the basket since, on another page."""

    def page():
        import streamlit as st

        from dqf.ui import basket

        if st.session_state.get("elsewhere"):
            basket.put(["c"])
        else:
            basket.from_address(["a", "b", "c"])
            basket.to_address()
        st.text(" ".join(basket.held()))

    app = AppTest.from_function(page)
    app.query_params["pick"] = ["a", "b"]
    assert app.run().text[0].value == "a b"
    app.session_state["elsewhere"] = True
    assert app.run().text[0].value == "a b c"
    app.session_state["elsewhere"] = False
    app.query_params["pick"] = ["a", "b"]
    assert app.run().text[0].value == "a b"
    assert app.query_params["pick"] == ["a", "b"]


def test_compare_says_what_is_missing(open_page, filled):
    app = open_page("compare", pick=["20200101-000000-nothing-0000/teacher"])
    assert "do not exist here" in everything(app)
    app.button(key="compare_newest").click().run()
    assert len(app.dataframe[0].value) == 11


def test_duckdb_is_closed_by_the_fixture(settings, open_page):
    """Guards the tests themselves: the file is free again when no page holds it."""
    open_page("overview")
    supervisors._supervisors.pop(settings.results_dir).stop()
    duckdb.connect(str(settings.database)).close()


def test_figures_that_look_wrong_are_told_beside_a_runs_results(open_page, filled):
    path = filled["new"] / "result.json"
    result = json.loads(path.read_text())
    result["sanity"] = [{"kind": "beats-teacher", "sentence": "student-kd beats its teacher by 4.0 points."}]
    path.write_text(json.dumps(result))
    app = open_page("runs", run=filled["new"].name)
    assert not app.exception
    assert "student-kd beats its teacher by 4.0 points." in everything(app)


@pytest.mark.parametrize("page", ["overview", "frontier", "compare"])
def test_figures_that_look_wrong_are_pointed_to_wherever_they_are_shown(open_page, filled, page):
    path = filled["new"] / "result.json"
    result = json.loads(path.read_text())
    result["sanity"] = [{"kind": "beats-teacher", "sentence": "student-kd beats its teacher by 4.0 points."}]
    path.write_text(json.dumps(result))
    picked = {"pick": f"{filled['new'].name}/teacher"} if page == "compare" else {}
    app = open_page(page, **picked)
    assert not app.exception
    pointed = [link.proto.label for link in app.get("page_link")]
    titles = [expander.label for expander in app.expander]
    assert "One figure looks suspicious: read before quoting" in (*pointed, *titles)


def test_a_run_that_has_just_ended_shows_its_figures_before_the_supervisor_has_taken_them_in(
    open_page, settings, monkeypatch
):
    run = write_example_run(settings.runs_dir, state="running", age_seconds=60)
    app = open_page("runs", run=run.name)
    assert [tab.label for tab in app.tabs] == ["Stages and log", "Config"]
    monkeypatch.setattr(supervisors.Supervisor, "_sync", lambda self: None)
    end_example_run(run)
    app.run()
    assert not app.exception
    assert [tab.label for tab in app.tabs][:2] == ["Results", "Receipts"]
    assert len(app.dataframe[1].value) == 5


def test_a_result_that_cannot_be_read_is_told(open_page, settings):
    run = write_example_run(settings.runs_dir)
    (run / "result.json").write_text("cut off in the mid")
    app = open_page("runs", run=run.name)
    assert not app.exception
    assert "The result of this run cannot be read" in everything(app)
