import dataclasses
import json

import pytest

from dqf import registry
from dqf.config import RunConfig, digest_of, merge
from dqf.errors import ConfigError, UserError
from dqf.fields import setting_of, type_hints
from dqf.presets import PRESETS, preset_config


def errors_of(given):
    with pytest.raises(ConfigError) as refused:
        RunConfig.from_dict(given)
    return {error.path: error.message for error in refused.value.errors}


@pytest.mark.parametrize("preset", [preset.name for preset in PRESETS])
def test_config_survives_json(preset):
    config = preset_config(preset, {"quantization": {"bits": [8, 2]}})
    again = RunConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.digest() == config.digest()


def test_defaults_of_the_chosen_methods_are_recorded():
    config = RunConfig.from_dict({})
    assert config.distillation.options.keys() == {"temperature", "alpha"}
    assert "damping" in config.quantization.options
    assert config.distiller_options().temperature == config.distillation.options["temperature"]


def test_text_from_a_form_becomes_numbers():
    config = RunConfig.from_dict(
        {"seed": "7", "quantization": {"bits": "4, 2", "symmetric": "true", "group_size": "64"}}
    )
    assert config.seed == 7
    assert config.quantization.bits == (4, 2)
    assert config.quantization.symmetric
    assert config.quantization.group_size == 64


def test_all_errors_are_reported_at_once():
    found = errors_of(
        {
            "sed": 1,
            "device": "gpu",
            "seed": -1,
            "quantization": {"bits": [5], "group_size": "many", "quantizer": "gtpq"},
            "distillation": {"options": {"temperatur": 2}},
            "teacher": 3,
            "task": {"source": "glue:sst3"},
            "student": {"model": "starter:minilm"},
        }
    )
    assert found["sed"].endswith("did you mean `seed`?")
    assert "at least 0: got -1" in found["seed"]
    assert "one of 8, 4, 3, 2: got 5" in found["quantization.bits"]
    assert "whole number: got 'many'" in found["quantization.group_size"]
    assert "did you mean `gptq`" in found["quantization.quantizer"]
    assert "did you mean `temperature`" in found["distillation.options.temperatur"]
    assert "group of settings" in found["teacher"]
    assert "did you mean `glue:sst2`" in found["task.source"]
    assert "did you mean `minilm-l6`" in found["student.model"]
    assert "device" in found


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("quantization", "bits", []),
        ("quantization", "bits", [4, None]),
        ("quantization", "symmetric", "perhaps"),
        ("quantization", "symmetric", 1),
        ("teacher", "epochs", float("nan")),
        ("teacher", "epochs", "inf"),
        ("teacher", "epochs", True),
        ("teacher", "batch_size", 1.5),
        ("teacher", "batch_size", 10**30),
        ("task", "source", 5),
        ("task", "source", "file:"),
        ("task", "source", "file:weights.pkl"),
        ("student", "model", ""),
        ("teacher", "model", "teacher-layers"),
        ("distillation", "options", [1]),
    ],
)
def test_bad_value_is_refused_under_its_name(section, name, value):
    assert any(path.startswith(f"{section}.{name}") for path in errors_of({section: {name: value}}))


def test_own_files_need_column_names():
    assert errors_of({"task": {"source": "file:data.csv"}}).keys() == {"task.text_column", "task.label_column"}


@pytest.mark.parametrize("layers", ["", "0", "x", "3,1", "1,1", "-2"])
def test_kept_layers_are_checked_when_they_matter(layers):
    student = {"model": "teacher-layers", "keep_layers": layers}
    assert "student.keep_layers" in errors_of({"student": student})
    RunConfig.from_dict({"student": {"keep_layers": layers}})


def test_teachers_that_are_never_fine_tuned_are_not_averaged():
    found = errors_of({"teacher": {"fine_tune": "never"}, "distillation": {"teachers": 3}})
    assert found.keys() == {"distillation.teachers"}
    assert "got 3" in found["distillation.teachers"]


def test_config_that_is_no_mapping_is_refused():
    assert errors_of(["x"]).keys() == {""}


def test_unknown_preset_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean `starter-cut`"):
        preset_config("starter-cutt")


def test_merge_lays_sections_over_sections():
    assert merge({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}, "b": {"z": 1}}) == {
        "a": {"x": 1, "y": 3},
        "b": {"z": 1},
    }


def test_digest_does_not_depend_on_order():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def _all_config_types(config_type=RunConfig):
    yield config_type
    for annotation in type_hints(config_type).values():
        if dataclasses.is_dataclass(annotation):
            yield from _all_config_types(annotation)


def test_every_setting_tells_forms_and_flags_what_they_need():
    methods = [entry.config for kind in registry.KINDS for entry in registry.entries(kind)]
    for config_type in (*_all_config_types(), *methods):
        for field in dataclasses.fields(config_type):
            facts = setting_of(field)
            if facts is None:
                continue
            assert facts.label[:1].isupper(), field.name
            assert facts.help.endswith("."), field.name
            if facts.choices and field.default is not dataclasses.MISSING:
                members = field.default if isinstance(field.default, tuple) else (field.default,)
                assert set(members) <= set(facts.choices), field.name
