"""The findings page over studies analysed by the real analysis from made-up runs."""

from __future__ import annotations

import json

import pytest

from tests.app.conftest import everything
from tests.support.example_studies import TEMPERATURES, write_example_study


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies")
    write_example_study(root / "reference", title="The reference")
    write_example_study(root / "studies" / "heat", TEMPERATURES, title="Hot and cold ![x](https://example.org/x.png)")
    return root


@pytest.fixture
def filled_studies(settings, studies):
    import shutil

    shutil.copytree(studies, settings.results_dir, dirs_exist_ok=True)
    return settings.results_dir


def tables(app):
    return [element.value for element in app.dataframe]


def table_with(app, column):
    return next(table for table in tables(app) if column in table)


def test_without_a_study_the_page_says_how_to_get_one(open_page):
    app = open_page("findings")
    assert not app.exception
    assert "No study has been analysed yet" in everything(app)
    assert "python -m dqf study reference" in everything(app)
    assert table_with(app, "Source")["Source"].tolist() == ["Published, simulated"] * 2


def test_the_reference_study_comes_first_with_tables_verdicts_and_method(open_page, filled_studies):
    app = open_page("findings")
    assert not app.exception
    assert app.selectbox(key="study").value == "reference"
    summary = json.loads((filled_studies / "reference" / "summary.json").read_text())
    text = everything(app)
    assert "The reference" in text
    for name in ("H1", "H2", "H3"):
        assert summary["verdicts"][name][-1]["sentence"] in text
    values = {metric.label: metric.value for metric in app.metric}
    assert values["Retention"] == f"{100 * summary['bits']['4']['retention']:.1f}\u00a0%"
    assert len(table_with(app, "Source")) == len(summary["variants"]) + 2
    assert table_with(app, "Majority")["Task"].tolist() == summary["tasks"]
    assert "Method: what was run" in text
    assert "200 resamples" in text
    assert "python -m dqf study results/reference --check" in text
    assert len(app.get("plotly_chart")) == 3


def test_another_bit_width_changes_headline_and_tasks(open_page, filled_studies):
    app = open_page("findings")
    summary = json.loads((filled_studies / "reference" / "summary.json").read_text())
    app.segmented_control(key="finding_bits_8_4_2").set_value("2").run()
    assert not app.exception
    values = {metric.label: metric.value for metric in app.metric}
    assert values["Retention"] == f"{100 * summary['bits']['2']['retention']:.1f}\u00a0%"
    expected = [100 * row["score"] for row in summary["bits"]["2"]["tasks"]]
    assert table_with(app, "Majority")["Score"].tolist() == pytest.approx(expected)


def test_own_studies_and_their_settings(open_page, filled_studies):
    app = open_page("findings", study="heat")
    assert not app.exception
    assert app.selectbox(key="study").value == "heat"
    assert "What the settings change" in everything(app)
    app.selectbox(key="condition_heat").select("temperature=4.0").run()
    assert not app.exception
    markdown = [e.value for kind in ("markdown", "caption", "error", "warning", "info") for e in app.get(kind)]
    assert not any("example.org" in str(value) for value in markdown)


def test_a_broken_study_does_not_hide_the_others(open_page, filled_studies):
    (filled_studies / "reference" / "summary.json").write_text('{"schema_version": 7}')
    app = open_page("findings")
    assert not app.exception
    assert "must be of schema version 1" in everything(app)
    assert app.selectbox(key="study").value == "heat"


def test_a_study_without_a_common_bit_width_still_shows(open_page, filled_studies):
    path = filled_studies / "studies" / "heat" / "summary.json"
    summary = json.loads(path.read_text())
    for part in (summary, *summary["conditions"]):
        part.update(bits={}, total=None, headline_bits=None, verdicts={"H1": [], "H2": [], "H3": []})
    path.write_text(json.dumps(summary))
    app = open_page("findings", study="heat")
    assert not app.exception
    assert "Tests need all five variants" in everything(app)
