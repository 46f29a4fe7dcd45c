"""The launch form: made from the settings, all errors at once, own files kept safely."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from dqf import registry
from dqf.errors import UserError
from dqf.fields import setting
from dqf.jobs import protocol
from dqf.ui.launch import sources
from tests.app.conftest import everything

ADVANCED = {"launch_advanced": True}
CSV = "text,label\n" + "\n".join(f"this is example number {i},{'yes' if i % 2 else 'no'}" for i in range(200)) + "\n"


def test_starter_is_filled_in_and_estimated(open_page):
    app = open_page("launch")
    assert app.selectbox(key="launch.student.model").value == "starter:minilm-l6"
    assert app.number_input(key="launch.distillation.options.temperature").value == 2.0
    assert [metric.label for metric in app.metric] == ["Time", "Memory", "Disk"]
    assert len(app.dataframe[0].value) == 5
    assert not app.button(key="launch_button").disabled


def test_several_bit_widths_make_several_variants(open_page):
    app = open_page("launch")
    app.button_group(key="launch.quantization.bits").set_value([8, 4, 2]).run()
    assert not app.exception
    assert app.dataframe[0].value["Weights"].tolist().count("2-bit") == 2
    assert len(app.dataframe[0].value) == 9


def test_exports_of_mixed_precision_are_told_before_the_launch(open_page):
    app = open_page("launch")
    assert "mixed" not in app.dataframe[1].value
    app.number_input(key="launch.quantization.average_bits").set_value(3.5).run()
    assert not app.exception
    forms = app.dataframe[1].value.set_index("Form")
    assert forms.loc["ONNX, 4-bit weights", "mixed"] == "yes"
    assert forms.loc["GPTQ checkpoint", "mixed"] == "–"
    assert "mixes 2, 3, 4, 8 bits" in forms.loc["GPTQ checkpoint", "Why not"]


def test_preset_fills_the_form(open_page):
    app = open_page("launch")
    app.number_input(key="launch.seed").set_value(9).run()
    app.selectbox(key="launch_preset").set_value("starter-cut").run()
    assert not app.exception
    assert app.selectbox(key="launch.student.model").value == "teacher-layers"
    assert app.text_input(key="launch.student.keep_layers").value == "10"
    assert app.number_input(key="launch.seed").value == 0


def test_feature_distillation_shows_its_settings(open_page):
    app = open_page("launch")
    app.selectbox(key="launch.distillation.method").set_value("feature-kd").run()
    assert not app.exception
    assert app.text_input(key="launch.distillation.options.layers").value == "uniform"
    assert app.number_input(key="launch.distillation.options.temperature").value == 2.0
    app.text_input(key="launch.distillation.options.layers").set_value("31:6").run()
    assert not app.exception


def test_every_setting_of_the_config_has_a_field(open_page):
    from dqf.config import RunConfig
    from dqf.fields import setting_of

    app = open_page("launch", ADVANCED)
    shown = {
        element.key
        for kind in ("selectbox", "number_input", "text_input", "toggle", "button_group")
        for element in app.get(kind)
    }
    import dataclasses

    for section in dataclasses.fields(RunConfig):
        if setting_of(section) is not None:
            assert section.name == "preset" or f"launch.{section.name}" in shown
            continue
        for one in dataclasses.fields(section.default_factory):
            path = f"launch.{section.name}.{one.name}"
            hidden = {"launch.task.text_column", "launch.task.text_pair_column", "launch.task.label_column"}
            hidden |= {"launch.student.keep_layers", "launch.task.source"}
            if setting_of(one) is not None and path not in hidden:
                assert path in shown


def test_advanced_settings_keep_what_was_set_while_they_are_closed(open_page, settings):
    app = open_page("launch", ADVANCED)
    app.number_input(key="launch.teacher.epochs").set_value(0.5)
    app.number_input(key="launch.measurement.latency_samples").set_value(77).run()
    app.session_state["launch_advanced"] = False
    app.run()
    assert not any(one.key == "launch.teacher.epochs" for one in app.number_input)
    app.number_input(key="launch.seed").set_value(4).run()
    app.session_state["launch_advanced"] = True
    assert app.run().number_input(key="launch.teacher.epochs").value == 0.5
    app.session_state["launch_advanced"] = False
    app.run().button(key="launch_button").click().run()
    config = protocol.read_json(protocol.list_runs(settings.runs_dir)[0] / "config.json")
    assert (config["seed"], config["teacher"]["epochs"], config["measurement"]["latency_samples"]) == (4, 0.5, 77)


def test_sources_of_texts_and_runtimes_are_offered_by_name(open_page, settings):
    app = open_page("launch", ADVANCED)
    transfer = app.selectbox(key="launch.distillation.transfer")
    assert transfer.value == "none"
    assert "Training rows of mnli" in transfer.options
    transfer.set_value("c4")
    app.selectbox(key="launch.measurement.shared_runtime").set_value("openvino-fp32").run()
    assert not app.exception
    app.button(key="launch_button").click().run()
    config = protocol.read_json(protocol.list_runs(settings.runs_dir)[0] / "config.json")
    found = (config["distillation"]["transfer"], config["measurement"]["shared_runtime"])
    assert found == ("c4", "openvino-fp32")


def test_a_file_of_texts_can_be_typed(open_page):
    typed = {"launch_preset": "starter", "launch.quantization.calibration": "file:/nowhere.csv"}
    app = open_page("launch", ADVANCED | typed)
    assert not app.exception
    assert app.selectbox(key="launch.quantization.calibration").value == "file:/nowhere.csv"
    assert any("nowhere.csv" in text.value for text in app.text)


def test_closed_advanced_settings_open_when_one_of_them_is_wrong(open_page):
    app = open_page("launch", {"launch_preset": "starter", "launch.teacher.epochs": 0.0})
    assert not app.exception
    assert app.number_input(key="launch.teacher.epochs").value == 0.0
    assert "Teacher, epochs: must be at least 0.01: got 0." in everything(app)


def test_all_errors_at_once_beside_their_fields(open_page):
    app = open_page("launch", ADVANCED)
    app.number_input(key="launch.distillation.options.alpha").set_value(1.5)
    app.number_input(key="launch.distillation.options.temperature").set_value(0.0)
    app.number_input(key="launch.quantization.group_size").set_value(-1)
    app.button_group(key="launch.quantization.bits").set_value([])
    app.number_input(key="launch.teacher.epochs").set_value(0.0)
    app.run()
    assert not app.exception
    shown = [text.value for text in app.text]
    for sentence in (
        "must be at most 1: got 1.5.",
        "must be at least 0.1: got 0.",
        "must be at least 0: got -1.",
        "needs at least one value: got none.",
        "must be at least 0.01: got 0.",
    ):
        assert sentence in shown
    assert "5 settings need your attention" in everything(app)
    assert app.button(key="launch_button").disabled


def test_wrong_settings_do_not_hide_what_files_say(open_page):
    app = open_page("launch")
    app.number_input(key="launch.distillation.options.alpha").set_value(1.5)
    app.number_input(key="launch.quantization.group_size").set_value(100)
    app.run()
    text = everything(app)
    assert "2 settings need your attention" in text
    assert "Distillation, alpha: must be at most 1: got 1.5." in text
    assert "divisible by" in text


def test_preflight_errors_stand_beside_their_fields(open_page):
    app = open_page("launch")
    app.number_input(key="launch.quantization.group_size").set_value(100).run()
    text = everything(app)
    assert "1 setting needs your attention" in text
    assert "divisible by" in text
    assert app.button(key="launch_button").disabled


@pytest.mark.parametrize(
    ("model", "said", "blocked"),
    [
        ("./no/such/folder", "./no/such/folder", True),
        ("org/some-model", "read from the hub", False),
        ("a b", "got 'a b'", True),
    ],
)
def test_free_text_models_are_taken_and_checked(open_page, model, said, blocked):
    app = open_page("launch", state={"launch_preset": "starter", "launch.teacher.model": model})
    assert not app.exception
    assert said in everything(app)
    assert app.button(key="launch_button").disabled is blocked


def test_own_file_by_path_with_column_pickers(open_page, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text(CSV)
    app = open_page("launch")
    app.selectbox(key="launch.task.source.kind").set_value("file:").run()
    assert "must name a file" in everything(app)
    app.text_input(key="launch.own_path").set_value(str(tmp_path / "data" / "mine.csv")).run()
    assert not app.exception
    assert app.selectbox(key="launch.task.text_column").value == "text"
    assert app.selectbox(key="launch.task.label_column").value == "label"
    assert not app.button(key="launch_button").disabled
    app.button(key="launch_button").click().run()
    assert not app.exception
    config = json.loads(next(settings.runs_dir.iterdir()).joinpath("config.json").read_text())
    assert config["task"]["text_column"] == "text"


def test_a_path_that_is_typed_after_an_upload_is_taken(open_page, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    other = tmp_path / "data" / "other.csv"
    other.write_text(CSV)
    app = open_page("launch")
    app.selectbox(key="launch.task.source.kind").set_value("file:").run()
    app.file_uploader[0].upload("mine.csv", CSV.encode(), "text/csv").run()
    assert "/uploads/mine-" in app.text_input(key="launch.own_path").value
    app.text_input(key="launch.own_path").set_value(str(other)).run()
    assert app.text_input(key="launch.own_path").value == str(other)
    app.button(key="launch_button").click().run()
    config = json.loads(next(settings.runs_dir.iterdir()).joinpath("config.json").read_text())
    assert config["task"]["source"] == f"file:{other}"


def test_own_file_outside_the_roots_is_refused(open_page):
    app = open_page("launch")
    app.selectbox(key="launch.task.source.kind").set_value("file:").run()
    app.text_input(key="launch.own_path").set_value("/etc/../etc/hostname.csv").run()
    assert not app.exception
    assert app.button(key="launch_button").disabled


def test_launch_queues_a_run_and_shows_it(open_page, settings):
    app = open_page("launch")
    app.number_input(key="launch.seed").set_value(7).run()
    app.button(key="launch_button").click().run()
    assert not app.exception
    runs = list(settings.runs_dir.iterdir())
    assert len(runs) == 1
    assert json.loads((runs[0] / "config.json").read_text())["seed"] == 7
    assert app.title[0].value == "Runs"
    assert app.selectbox(key="chosen_run").value == runs[0].name


def test_a_new_method_appears_with_its_own_settings(open_page, monkeypatch):
    @dataclass(frozen=True)
    class DummyConfig:
        sharpness: float = setting(3.0, "Sharpness", "How sharp.", minimum=0.0, maximum=9.0)

    registry.entries("quantizer")
    entry = registry.Entry("quantizer", "dummy", "Dummy quantizer", "For this test.", DummyConfig, print)
    monkeypatch.setitem(registry._entries, ("quantizer", "dummy"), entry)
    app = open_page("launch")
    app.selectbox(key="launch.quantization.quantizer").set_value("dummy").run()
    assert not app.exception
    assert app.number_input(key="launch.quantization.options.sharpness").value == 3.0
    app.number_input(key="launch.quantization.options.sharpness").set_value(10.0).run()
    assert "must be at most 9: got 10." in [text.value for text in app.text]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.csv", "a\\b\\c.csv", "über näme;rm -rf.csv", "-.csv", "x" * 300 + ".CSV"]
)
def test_uploads_get_safe_names(settings, name):
    path = sources.store_upload(settings, name, CSV.encode())
    assert path.parent == settings.uploads_dir
    assert path.read_text() == CSV
    assert len(path.name) < 60
    assert all(character.isalnum() or character in "-." for character in path.name)


def test_uploads_of_other_kinds_and_empty_ones_are_refused(settings):
    with pytest.raises(UserError, match="must be one of"):
        sources.store_upload(settings, "model.pkl", b"x")
    with pytest.raises(UserError, match="must be one of"):
        sources.store_upload(settings, ".csv", b"x")
    with pytest.raises(UserError, match="is empty"):
        sources.store_upload(settings, "a.csv", b"")
    assert not settings.uploads_dir.exists() or not list(settings.uploads_dir.iterdir())


def test_same_upload_is_kept_once(settings):
    assert sources.store_upload(settings, "a.csv", b"x") == sources.store_upload(settings, "a.csv", b"x")
    assert sources.store_upload(settings, "a.csv", b"y") != sources.store_upload(settings, "a.csv", b"x")
    assert len(list(settings.uploads_dir.iterdir())) == 2
