"""The SQL page: examples, answers, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dqf.store import sandbox, snapshot
from dqf.store.db import Store
from dqf.store.ingest import sync
from dqf.ui.sql import chart as sql_chart
from dqf.ui.sql.examples import EXAMPLES
from tests.app.conftest import everything
from tests.support.example_runs import write_example_run
from tests.support.example_studies import write_example_study


def ask(app, sql):
    app.text_area(key="sql").set_value(sql)
    return app.button[0].click().run(timeout=90)


def test_the_default_query_runs_and_draws(open_page, filled):
    app = open_page("sql")
    assert "Run a query to see its rows here." in everything(app)
    app = ask(app, EXAMPLES[0].sql)
    assert not app.exception
    rows = app.dataframe[-1].value
    assert list(rows) == ["bits", "variant", "retention", "times_smaller", "times_faster", "runs"]
    assert set(rows["bits"]) == {16, 8, 4, 3, 2}
    assert len(app.get("plotly_chart")) == 1


def test_an_example_fills_the_editor_and_the_address_holds_the_query(open_page, filled):
    app = open_page("sql", sql="SELECT 42 AS answer")
    assert app.text_area(key="sql").value == "SELECT 42 AS answer"
    app.selectbox(key="sql_example").select("Most confident mistakes").run()
    assert app.text_area(key="sql").value == next(one.sql for one in EXAMPLES if one.title == "Most confident mistakes")


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("DROP TABLE runs", "a query must be a SELECT: got DROP"),
        ("SELECT * FROM read_csv('/etc/passwd')", "a query cannot use read_csv()"),
        ("SELECT nothing FROM runs", "Binder Error"),
    ],
)
def test_a_refusal_is_shown_and_the_page_goes_on(open_page, filled, sql, sentence):
    app = ask(open_page("sql"), sql)
    assert not app.exception
    assert "The query gave no answer." in everything(app)
    assert sentence in everything(app)
    app = ask(app, "SELECT count(*) AS n FROM runs")
    assert app.dataframe[-1].value["n"].tolist() == [8]


def test_text_from_runs_is_never_markdown(open_page, filled):
    evil = "![x](https://example.org/x.png)"
    app = ask(open_page("sql"), f"SELECT '{evil}' AS a, nope FROM runs")
    markdown = [e.value for kind in ("markdown", "caption", "error", "warning", "info") for e in app.get(kind)]
    assert not any("example.org" in str(value) for value in markdown)


def test_studies_bring_tables_and_an_example(open_page, settings):
    assert "Studies: accuracy by seed" not in open_page("sql").selectbox(key="sql_example").options
    write_example_study(settings.results_dir / "studies" / "mine")
    app = open_page("sql")
    assert app.selectbox(key="sql_table").options[-2:] == ["study_variants", "study_predictions"]
    app = ask(app, "SELECT DISTINCT study FROM study_predictions")
    assert app.dataframe[-1].value["study"].tolist() == ["mine"]


def test_the_schema_lists_every_table(open_page, filled):
    app = open_page("sql")
    assert app.selectbox(key="sql_table").options == ["runs", "variants", "scores", "stages", "predictions"]
    app.selectbox(key="sql_table").select("predictions").run()
    assert app.dataframe[0].value["Column"].tolist() == [
        "run_id", "variant_id", "task", "idx", "label", "prediction", "logits", "confidence"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    from dqf.settings import load_settings

    settings = load_settings(tmp_path_factory.mktemp("examples") / "results")
    write_example_run(settings.runs_dir, bits=(4, 2), n=300)
    write_example_run(settings.runs_dir, task="stsb", n=60, age_seconds=900)
    store = Store.open(settings)
    sync(store, settings)
    study = write_example_study(tmp_path_factory.mktemp("studies") / "mine")
    taken = snapshot.take(store, [study])
    store.close()
    return taken


def test_every_column_says_what_it_holds(taken):
    columns = snapshot.columns(taken)
    assert set(columns) == set(snapshot.SENTENCES)
    assert [(table, name) for table, rows in columns.items() for name, _, meaning in rows if not meaning] == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.title)
def test_every_example_gives_rows_and_its_chart(taken, example):
    frame = sql_chart.to_frame(sandbox.ask(taken, example.sql).table)
    assert len(frame) or example.title == "Examples that every student gets wrong"
    if example.chart:
        assert example.x in sql_chart.plottable(frame)
        assert example.y in sql_chart.numeric(frame)
        figure = sql_chart.chart(frame, example.chart, example.x, example.y, example.color)
        drawn = np.concatenate([np.asarray(series.y, float) for series in figure.data])
        np.testing.assert_allclose(np.sort(drawn), np.sort(frame[example.y].astype(float)))


@pytest.mark.parametrize("title", ["flipped against", "Confusion matrix", "every student gets wrong"])
def test_examples_about_right_and_wrong_leave_numbers_out(taken, title):
    """No predicted number equals its target."""
    (example,) = (one for one in EXAMPLES if title in one.title)
    assert "stsb" not in set(sql_chart.to_frame(sandbox.ask(taken, example.sql).table)["task"])


def test_columns_of_one_name_and_exact_decimals_can_be_shown():
    table = pa.Table.from_arrays(
        [pa.array([1]), pa.array([2]), pa.array([3]).cast(pa.decimal128(25, 2))], ["a", "a", "d"]
    )
    frame = sql_chart.to_frame(table)
    assert list(frame) == ["a", "a (2)", "d"]
    assert frame["d"].tolist() == [3.0]


def test_what_python_has_nothing_for_is_refused_in_a_sentence(open_page, filled):
    app = open_page("sql")
    for value in ("DATE '0044-03-15 (BC)'", "TIME '24:00:00'", "union_value(num := 2)"):
        ask(app, f"SELECT {value} AS x")
        assert not app.exception
        assert "a result must hold what a page can show" in everything(app)
        assert not app.dataframe[1:]
    ask(app, "SELECT error(repeat('x', 300000))")
    assert not app.exception
    assert "xxxx" in everything(app)
    ask(app, "SELECT md5(run_id)::BLOB AS digest, 1 AS one, 2 AS two FROM runs")
    assert not app.exception
    assert "digest" not in app.selectbox(key=next(box.key for box in app.selectbox if box.label == "Across")).options


def test_columns_find_a_name_that_is_free():
    table = pa.table([[1], [2], [3]], names=["a", "a", "a (2)"])
    assert list(sql_chart.to_frame(table)) == ["a", "a (2)", "a (2) (2)"]


def test_rare_values_share_a_color_and_kinds_of_variant_keep_theirs():
    frame = pd.DataFrame({"x": range(40), "y": range(40), "c": [f"value {i % 12}" for i in range(40)]})
    figure = sql_chart.chart(frame, "Points", "x", "y", "c")
    assert len(figure.data) == sql_chart.MOST_COLORS + 1
    assert figure.data[-1].name == "others"
    assert sql_chart.colors_of(["teacher", "student-dqf"]) == {"teacher": "#7b8494", "student-dqf": "#5b6cf0"}


def test_names_cannot_bring_markup_into_a_chart():
    frame = pd.DataFrame({"<b>x</b>": ["<a href='x'>"], "y": [1.0]})
    assert "<a" not in sql_chart.chart(frame, "Bars", "<b>x</b>", "y", "<b>x</b>").to_json()
