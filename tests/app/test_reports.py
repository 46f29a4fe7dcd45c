"""The Reports page: which rows it takes, and that it says what they hold."""

from __future__ import annotations

from tests.app.conftest import everything


def test_a_run_of_the_address_is_reported(open_page, filled):
    app = open_page("reports", run=filled["sst2"].name, within="10.0")
    assert not app.exception
    assert len(app.dataframe[0].value) == 7
    text = everything(app)
    assert "Smallest within 10 pp of the teacher: " in text
    assert f"python -m dqf run --config {filled['sst2'].name}-config.json" in text


def test_the_basket_is_reported_in_its_order(open_page, filled):
    keys = [f"{filled['new'].name}/student-kd", f"{filled['sst2'].name}/teacher"]
    app = open_page("reports", of="The basket of Compare", pick=keys)
    assert not app.exception
    assert app.dataframe[0].value["Variant"].str.split(" · ").str[0].tolist() == ["Student-KD", "Teacher"]


def test_an_empty_basket_says_so(open_page, filled):
    assert "The basket is empty." in everything(open_page("reports", of="The basket of Compare"))
