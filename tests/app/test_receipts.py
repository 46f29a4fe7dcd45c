"""Receipts on the pages Runs and Compare."""

from __future__ import annotations

import json

import pytest

from tests.app.conftest import everything
from tests.support.example_receipts import example_receipt
from tests.support.example_runs import write_example_run


@pytest.fixture
def run(settings):
    return write_example_run(settings.runs_dir, bits=(4, 2), seed=3)


def keys(run, *variants: str) -> list[str]:
    return [f"{run.name}/{variant}" for variant in variants]


def layers_table(app):
    return next(element.value for element in app.dataframe if "Fallback" in element.value)


def test_run_shows_the_receipt_of_the_chosen_variant(open_page, run):
    app = open_page("runs", run=run.name, part="Receipts")
    assert not app.exception
    picker = app.selectbox(key=f"receipt_of_{run.name}")
    assert len(picker.options) == 4
    assert "40 layers: GPTQ kept on 37, round-to-nearest kept on 3" in everything(app)
    assert layers_table(app)["Bits"].unique().tolist() == [4]
    picker.select(f"{run.name}/student-dqf-gptq-2bit").run()
    assert not app.exception
    table = layers_table(app)
    assert table["Bits"].unique().tolist() == [2]
    assert table["Outcome"].value_counts().to_dict() == {"● kept": 37, "○ by design": 2, "▲ lost": 1}


def test_color_can_say_the_error_itself(open_page, run):
    app = open_page("runs", run=run.name, part="Receipts")
    app.button_group(key="receipt_measure").set_value("Relative error").run()
    assert not app.exception


def test_plain_rounding_is_not_compared_with_itself(open_page, run):
    for path in (run / "receipts").iterdir():
        path.write_text(json.dumps(example_receipt(quantizer="rtn")))
    for app in (
        open_page("runs", run=run.name, part="Receipts"),
        open_page("compare", pick=keys(run, "student-dqf-gptq-4bit")),
    ):
        assert not app.exception
        assert "Round-to-nearest's weight error is" in everything(app)
        assert not [one for one in app.button_group if one.label == "Color"]


def test_receipt_is_read_again_when_its_file_changes(open_page, run):
    path = run / "receipts" / "student-ptq-gptq-4bit.json"
    assert "40 layers" in everything(open_page("runs", run=run.name, part="Receipts"))
    path.write_text(json.dumps(json.loads(path.read_text())[:7]))
    assert "7 layers" in everything(open_page("runs", run=run.name, part="Receipts"))


@pytest.mark.parametrize("content", [None, "{", '{"layers": []}', "[]"])
def test_missing_or_broken_receipt_is_one_sentence(open_page, run, content):
    path = run / "receipts" / "student-ptq-gptq-4bit.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    for app in (
        open_page("runs", run=run.name, part="Receipts"),
        open_page("compare", pick=keys(run, "student-ptq-gptq-4bit")),
    ):
        assert not app.exception
        assert "a receipt must be" in everything(app)


def test_receipt_outside_its_run_is_refused(open_page, run):
    secret = run.parent / "secret.json"
    secret.write_text('[{"name": "secret"}]')
    result = json.loads((run / "result.json").read_text())
    for variant in result["variants"]:
        variant["receipt"] = "../secret.json"
    (run / "result.json").write_text(json.dumps(result))
    text = everything(open_page("runs", run=run.name, part="Receipts"))
    assert "a receipt must be a file inside its run: '../secret.json'" in text


def test_words_of_a_receipt_are_never_markdown(open_page, run):
    evil = "![x](https://example.org/x.png)"
    for path in (run / "receipts").iterdir():
        rows = json.loads(path.read_text())
        rows[5] |= {"name": evil, "fallback": evil, "method": evil}
        path.write_text(json.dumps(rows))
    for app in (
        open_page("runs", run=run.name, part="Receipts"),
        open_page("compare", pick=keys(run, "student-dqf-gptq-4bit")),
    ):
        assert not app.exception
        kinds = ("markdown", "caption", "subheader", "warning", "error", "info")
        shown = [str(element.value) for kind in kinds for element in app.get(kind)]
        assert not any("example.org" in text.lower() for text in shown)
        assert any("example.org" in element.value.lower() for element in app.text)


def test_compare_shows_a_line_and_a_strip_for_each_quantized_variant(open_page, run):
    app = open_page("compare", pick=keys(run, "teacher", "student-ptq-gptq-4bit", "student-dqf-gptq-2bit"))
    assert not app.exception
    overview = next(one.value for one in app.dataframe if "▲ Lost" in one.value)
    assert overview["▲ Lost"].tolist() == [1, 1]
    assert overview["Bits a weight"].tolist() == [4.0, 2.0]
    assert everything(app).count("40 layers: GPTQ kept on 37") == 2


def test_compare_shows_few_strips_of_many_variants_and_lets_people_choose(open_page, run, settings):
    other = write_example_run(settings.runs_dir, label="starter-cut", seed=4)
    quantized = keys(run, *(f"student-{kind}-gptq-{bits}bit" for kind in ("ptq", "dqf") for bits in (4, 2)))
    app = open_page("compare", pick=[*quantized, *keys(other, "student-dqf-gptq-4bit")])
    assert not app.exception
    assert len(next(one.value for one in app.dataframe if "▲ Lost" in one.value)) == 5
    assert everything(app).count("layers: GPTQ kept on") == 3
    picker = next(one for one in app.multiselect if one.label == "Layers of")
    picker.set_value(keys(other, "student-dqf-gptq-4bit")).run()
    assert not app.exception
    assert everything(app).count("layers: GPTQ kept on") == 1
    assert "72 layers: GPTQ kept on 70" in everything(app)


def test_no_receipts_without_quantized_variants(open_page, run):
    app = open_page("compare", pick=keys(run, "teacher", "student-kd"))
    assert not app.exception
    assert "Receipts" not in everything(app)
