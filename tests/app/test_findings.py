"""The findings page over studies analysed by the real analysis from made-up runs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dqf.config import RunConfig
from dqf.data.load import load_task
from dqf.errors import UserError
from dqf.settings import load_settings
from dqf.study.analyse import analyse
from dqf.study.files import read_tables, write_summary
from dqf.ui.compare import flips
from dqf.ui.findings import costs, duel, peers
from dqf.ui.findings import examples as study_examples
from dqf.ui.findings.studies import load
from tests.app.conftest import ROOT, everything
from tests.support.example_studies import RESAMPLES, TEMPERATURES, write_example_study


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
        at = {one["bits"]: one["sentence"] for one in summary["verdicts"][name]}
        assert at["4"] in [one.value for one in app.text]  # the card's own, at the bit-width that is chosen
        assert at["2"] not in [one.value for one in app.text]
    values = {metric.label: metric.value for metric in app.metric}
    assert values["Retention"] == f"{100 * summary['bits']['4']['retention']:.1f}\u00a0%"
    assert len(table_with(app, "Source")) == len(summary["variants"]) + 2
    assert table_with(app, "Majority")["Task"].tolist() == summary["tasks"]
    assert "Method: what was run" in text
    assert "200 resamples" in text
    assert "Quantizer: gptq, groups of 32" in text
    assert f"python -m dqf study {filled_studies / 'reference'} --check" in text
    assert len(app.get("plotly_chart")) == 4


def test_the_address_names_study_settings_and_bits_and_brings_them_back(open_page, filled_studies):
    app = open_page("findings")

    def asked(name):
        value = app.query_params[name]
        return value[0] if isinstance(value, list) else value

    assert (asked("study"), asked("bits")) == ("reference", "4")
    app.segmented_control(key="finding_bits_8_4_2").set_value("2").run()
    assert asked("bits") == "2"
    assert open_page("findings", bits="2").segmented_control(key="finding_bits_8_4_2").value == "2"
    app.selectbox(key="study").set_value("heat").run()
    assert not app.exception
    usual = asked("settings")
    hot = app.selectbox(key="condition_heat").options[-1]
    app.selectbox(key="condition_heat").set_value(hot).run()
    assert asked("settings") == hot != usual
    again = open_page("findings", **{name: asked(name) for name in ("study", "settings")})
    assert not again.exception
    assert again.selectbox(key="condition_heat").value == hot
    assert not again.warning
    again.selectbox(key="study").set_value("reference").run()
    assert "settings" not in again.query_params  # they were the other study's
    assert not again.exception
    assert not again.warning
    gone = open_page("findings", study="glue-gone")
    assert "The address names a study that is not here" in everything(gone)


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
    assert app.selectbox(key="condition_heat").value == "temperature=2.0"  # what a run takes unless told otherwise
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


def test_a_study_of_a_plan_that_cannot_be_read_opens_at_its_first_settings(open_page, filled_studies):
    path = filled_studies / "studies" / "heat" / "study.json"
    facts = json.loads(path.read_text())
    facts["plan"]["base"] = {"teacher": {"unheard_of": 1}}
    path.write_text(json.dumps(facts))
    app = open_page("findings", study="heat")
    assert not app.exception
    assert app.selectbox(key="condition_heat").value == "temperature=1.0"


def test_a_study_without_a_common_bit_width_still_shows(open_page, filled_studies):
    path = filled_studies / "studies" / "heat" / "summary.json"
    summary = json.loads(path.read_text())
    for part in (summary, *summary["conditions"]):
        part.update(bits={}, total=None, headline_bits=None, verdicts={"H1": [], "H2": [], "H3": []})
    path.write_text(json.dumps(summary))
    app = open_page("findings", study="heat")
    assert not app.exception
    assert "Tests need all five variants" in everything(app)


def test_examples_that_flipped_in_a_study_are_counted_and_shown(open_page, filled_studies):
    app = open_page("findings", {"study_examples_reference": True})
    assert not app.exception
    assert "What changed" not in everything(app)
    app.selectbox(key="study_task_reference").select("rte").run()
    app.selectbox(key="study_seed_reference").select(1).run()
    app.selectbox(key="flip_from").select("teacher").run()
    app.selectbox(key="flip_to_teacher").select("student-dqf@4").run()
    assert not app.exception
    frame = pd.read_parquet(filled_studies / "reference" / "predictions" / "rte.parquet").set_index("idx")
    teacher = frame[frame["variant"] == "teacher"]
    other = frame[(frame["variant"] == "student-dqf") & (frame["bits"] == "4") & (frame["seed"] == 1)]
    lost = (teacher["prediction"] == teacher["label"]) & (other["prediction"] != other["label"])
    values = {metric.label: metric.value for metric in app.metric}
    assert values[flips.LOST] == str(int(lost.sum()))
    assert set(table_with(app, "Confidence, to")["True label"]) <= {"entailment", "not_entailment"}
    assert "The texts cannot be shown on this machine" in everything(app)


def test_the_task_table_is_of_the_variant_that_is_chosen(open_page, filled_studies):
    app = open_page("findings")
    summary = json.loads((filled_studies / "reference" / "summary.json").read_text())
    choice = next(box for box in app.selectbox if box.label == "Variant")
    assert choice.value == "student-dqf@4"
    choice.select("student-ft").run()
    assert not app.exception
    rows = next(one for one in summary["variants"] if one["system"] == "student-ft")["tasks"]
    assert table_with(app, "Majority")["Score"].tolist() == [pytest.approx(100 * row["score"]) for row in rows]


def test_what_serving_takes_is_told_of_every_variant(open_page, filled_studies, settings):
    shown = table_with(open_page("findings"), "Load (ms)").set_index("Variant")
    study = load(filled_studies / "reference", settings)
    assert len(shown) == len(study.conditions[0]["variants"])
    times = pd.read_parquet(filled_studies / "reference" / "latency.parquet")
    mine = times[(times["variant"] == "student-dqf") & (times["bits"] == "4") & (times["session"] == "fastest")]
    medians = mine.groupby(["task", "seed"])["ms"].median()
    assert shown.loc["Student-DQF, 4-bit", "p50 (ms)"] == pytest.approx(np.exp(np.log(medians).mean()))
    variants = pd.read_parquet(filled_studies / "reference" / "variants.parquet")
    row = variants[(variants["variant"] == "student-dqf") & (variants["bits"] == "4")]
    assert shown.loc["Student-DQF, 4-bit", "Memory (MB)"] == pytest.approx(row["peak_rss_bytes"].mean() / 1e6)


def test_figures_of_time_are_of_the_machine_that_timed_most_tasks(open_page, filled_studies):
    folder = filled_studies / "reference"
    variants = pd.read_parquet(folder / "variants.parquet")
    elsewhere = variants["task"] == "rte"
    assert elsewhere.any()
    variants.loc[elsewhere, "hardware"] = "Another CPU"
    variants[costs.COLUMNS] = 10.0
    variants.loc[elsewhere, ["load_ms", "train_seconds"]] = 1e9
    variants.to_parquet(folder / "variants.parquet", index=False)
    write_summary(folder, analyse(read_tables(folder), RESAMPLES))
    app = open_page("findings")
    shown = everything(app)
    assert "Example CPU, 2 threads; Another CPU, 2 threads" in shown
    assert "Faster: without rte, timed on another machine" in shown
    by_task = table_with(app, "Majority").set_index("Task")["Timed on"]
    assert by_task["rte"] == "Another CPU, 2 threads"
    assert set(by_task.drop("rte")) == {"Example CPU, 2 threads"}
    part = json.loads((folder / "summary.json").read_text())
    serving = table_with(app, "Load (ms)").set_index("Variant")
    assert serving.loc["Student-DQF, 4-bit", "p50 (ms)"] == pytest.approx(part["bits"]["4"]["latency_ms_p50"])
    assert serving["Load (ms)"].max() < 1e9
    assert set(table_with(app, "Time (s)")["Time (s)"]) == {10.0}
    assert shown.count("Without rte, made on another machine.") == 2


def test_two_variants_are_compared_on_every_task(open_page, filled_studies, settings):
    app = open_page("findings", {"study_duel_reference": True})
    assert not app.exception
    part = json.loads((filled_studies / "reference" / "summary.json").read_text())
    pays = next(one for one in part["distillation_pays"] if one["bits"] == "4")
    rows = table_with(app, "Difference (pp)").set_index("Task")
    assert list(rows.index) == [*part["tasks"], "average"]
    assert rows.loc["average", "Difference (pp)"] == pytest.approx(100 * pays["difference"])
    assert rows["Difference (pp)"][:-1].mean() == pytest.approx(100 * pays["difference"])
    assert "On average Student-DQF, 4-bit is" in everything(app)
    app.selectbox(key="duel_First_reference__4").select("student-dqf@4").run()
    assert "Choose two different variants." in everything(app)
    study = load(filled_studies / "reference", settings)
    against_teacher = duel.compare(study, part, "teacher", "student-dqf@4").set_index("task")
    kept = {row["task"]: row for row in part["bits"]["4"]["tasks"]}
    for task, row in kept.items():
        assert against_teacher.loc[task, "difference"] == pytest.approx(row["difference"])
        assert against_teacher.loc[task, "low"] == pytest.approx(row["difference_ci95_low"], abs=0.02)
    (filled_studies / "reference" / "predictions" / "rte.parquet").unlink()
    with pytest.raises(UserError, match=r"rte.parquet of reference cannot be read"):
        duel.compare(study, part, "teacher", "student-kd")


def test_the_method_note_tells_what_the_runs_recorded(open_page, filled_studies):
    """Not what a default is now."""
    text = everything(open_page("findings", study="heat"))
    assert "temperature 1, 2, 4 or 8" in text
    assert "Where values differ between runs, the plan below says which run had which." in text
    path = filled_studies / "reference" / "study.json"
    facts = json.loads(path.read_text())
    facts["settings"]["quantization.scale_bits"] = [16]
    path.write_text(json.dumps(facts))
    assert "scales of 16 bits" in everything(open_page("findings"))
    del facts["settings"]
    path.write_text(json.dumps(facts))
    assert "Quantizer:" not in everything(open_page("findings"))


def test_texts_of_a_study_are_found_by_its_plan_and_only_if_they_are_its_own(settings, studies, tmp_path, monkeypatch):
    study = load(studies / "reference", settings)
    config = study_examples.config_of(study, "rte")
    assert config["task"]["source"] == "glue:rte"
    with pytest.raises(UserError, match=r"has no run of cola"):
        study_examples.config_of(study, "cola")
    with pytest.raises(UserError, match="cannot be read"):
        study_examples.config_of(replace(study, facts={"plan": 3}), "rte")
    folder = tmp_path / "data" / "glue" / "rte"
    folder.mkdir(parents=True)
    rows = pd.DataFrame({"sentence1": [f"a {i}" for i in range(60)], "sentence2": "b", "label": [0, 1] * 30})
    for split in ("train", "validation"):
        rows.to_parquet(folder / f"{split}.parquet")
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path / "data"))
    here = load_settings()
    with pytest.raises(UserError, match="must be the run's own"):
        study_examples._texts(study, "rte", here)
    facts = json.loads(json.dumps(dict(study.facts)))
    facts["tasks"]["rte"]["data_sha256"] = load_task(RunConfig.from_dict(config), here).fingerprint()
    texts = study_examples._texts(replace(study, facts=facts), "rte", here)
    assert texts["text"].tolist() == rows["sentence1"].tolist()


def test_figures_beside_other_tools_are_shown_with_their_commands(open_page):
    app = open_page("findings")
    assert not app.exception
    assert "Beside other tools" in everything(app)
    rows = table_with(app, "Beside")
    committed = {one["name"]: one for one in json.loads(peers.FILE.read_text())}
    kl = rows[(rows["Kind"] == "KL divergence") & (rows["What"] == "GPTQ 4-bit")].iloc[0]
    assert kl["Ratio"] == committed["kl_gptq_4bit_g64"]["ratio"]
    assert kl["Command"] == committed["kl_gptq_4bit_g64"]["command"]
    assert not rows["Beside"].str.startswith("ours").any()
    assert len(set(peers.figure(rows).data[0].y)) == (rows["Kind"] == "KL divergence").sum()


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_without_figures_of_other_tools_there_is_no_such_part(open_page, monkeypatch, tmp_path, content):
    file = tmp_path / "quantization.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr(peers, "FILE", file)
    app = open_page("findings")
    assert not app.exception
    assert "Beside other tools" not in everything(app)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("gptq_4bit_g64", "GPTQ 4-bit"),
        ("minilm-l6_32tokens_4bit_vs_8bit", "MiniLM-L6 32 tokens 4-bit"),
        ("gptq_4bit_llama-1b_random", "GPTQ 4-bit Llama 1 B"),
    ],
)
def test_names_of_figures_are_words(name, read):
    assert peers.what(name) == read


def test_what_training_took_is_told_for_adapters_and_all_weights():
    settings = load_settings(ROOT / "results")
    study = load(settings.reference_dir / "lora", settings)
    rows = costs.table(study).set_index(["Model", "Settings"])
    full, lora = (rows.loc["Teacher", f"teacher.tuning={how} student.tuning=full"] for how in ("full", "lora"))
    variants = pd.read_parquet(study.folder / "variants.parquet")
    of_full = variants[variants["condition"].str.startswith("teacher.tuning=full student.tuning=full")]
    teacher = of_full[of_full["variant"] == "teacher"]
    assert full["Time (s)"] == pytest.approx(teacher["train_seconds"].mean())
    assert full["Peak memory (GB)"] == pytest.approx(teacher["train_peak_memory_bytes"].mean() / 1e9)
    assert lora["Trained (M)"] < full["Trained (M)"] / 10
    assert len(rows) == 3 * len(study.conditions)
