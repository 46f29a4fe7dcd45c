"""The plans of studies that are shipped, and what is said of bad ones."""

import pytest

from dqf.errors import UserError
from dqf.models.catalog import STARTERS
from dqf.models.layer_pairs import layer_pairs
from dqf.sections import FULL
from dqf.settings import load_settings
from dqf.stages._tuning import key_facts
from dqf.study.collect import condition_of
from dqf.study.plan import load_plan, plan_of, shipped_names
from dqf.sweeps.plan import expand, label_of

TRANSFER = {"glue:rte": (4, "glue:mnli"), "glue:cola": (4, "none")}
"""What the study `transfer` found best on held-out rows: altered copies, and texts from elsewhere."""


def test_the_reference_study_is_the_nine_tasks_with_three_seeds():
    planned = load_plan("reference")
    expansion = expand(planned.plan)
    expansion.raise_errors()
    found = {}
    for run in expansion.runs:
        config = run.config
        teacher = (config.teacher.epochs, config.teacher.batch_size, config.student.epochs)
        distillation = (config.distillation.altered_copies, config.distillation.transfer)
        assert distillation == TRANSFER.get(config.task.source, (0, "none"))
        found.setdefault(config.task.source.removeprefix("glue:"), []).append((config.seed, teacher))
        assert config.quantization.bits == (8, 4, 3, 2)
        assert (config.student.batch_size, config.student.learning_rate) == (32, 1e-4)
        assert (config.teacher.model, config.student.model) == ("starter:smollm2-135m", "starter:minilm-l6")
        assert config.measurement.shared_runtime == "openvino-fp32"
        assert config.task.split == "evaluation"
    small, large = (2.0, 16, 3.0), (1.0, 32, 2.0)
    expected = dict.fromkeys(("mrpc", "stsb", "wnli"), small) | {"cola": (2.0, 16, 10.0)}
    expected |= {"rte": (3.0, 16, 10.0), "sst2": (1.0, 32, 3.0)}
    expected |= dict.fromkeys(("qnli", "mnli", "qqp"), large)
    assert found == {task: [(seed, teacher) for seed in (0, 1, 2)] for task, teacher in expected.items()}


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_study_is_valid_and_knows_its_place(name, tmp_path):
    settings = load_settings(tmp_path / "results")
    planned = load_plan(name)
    expand(planned.plan).raise_errors()
    assert planned.title
    assert settings.reference_dir in (planned.folder(settings), planned.folder(settings).parent)


def teachers_of(name):
    """Return the fully tuned teachers of a shipped study, by task, as plain data without adapters' settings."""
    found = {}
    for run in expand(load_plan(name).plan).runs:
        if run.config.teacher.tuning == FULL:
            found.setdefault(run.config.task.source, set()).add(str(key_facts(run.config.teacher)))
    return found


@pytest.mark.parametrize("name", [name for name in shipped_names() if name != "reference"])
def test_other_studies_share_the_reference_studys_teachers(name):
    reference, own = teachers_of("reference"), teachers_of(name)
    assert len(own) == {"labels": 1, "layer-cut": 3}.get(name, 2)
    assert all(own[task] == reference[task] for task in own)


def test_the_study_of_adapters_has_four_conditions_with_rates_of_their_own():
    runs = expand(load_plan("lora").plan).runs
    rates = {
        label_of(condition_of(run.settings)): (run.config.teacher.learning_rate, run.config.student.learning_rate)
        for run in runs
    }
    assert rates == {
        "teacher.tuning=full student.tuning=full": (1e-4, 1e-4),
        "teacher.tuning=full student.tuning=lora": (1e-4, 1e-3),
        "teacher.tuning=lora student.tuning=full": (1e-3, 1e-4),
        "teacher.tuning=lora student.tuning=lora": (1e-3, 1e-3),
    }
    assert len(runs) == 4 * 2 * 3


def test_the_study_of_feature_layers_names_layers_that_are_there():
    layers = {run.config.distillation.options["layers"] for run in expand(load_plan("feature-layers").plan).runs}
    assert len(layers) == 4
    shapes = {one.name: one.shape.layers for one in STARTERS}
    for text in layers:
        assert (layer_pairs(text, shapes["smollm2-135m"], shapes["minilm-l6"]) == ()) == (text == "none")


def test_bad_plans_are_refused(tmp_path):
    for given, message in (("refrence", "did you mean `reference`"), (str(tmp_path / "none.toml"), "readable")):
        with pytest.raises(UserError, match=message):
            load_plan(given)
    own = tmp_path / "Temperature.toml"
    own.write_text('[config]\ntask.source = "glue:rte"\n')
    with pytest.raises(UserError, match=r"Temperature\.toml is called like the 'temperature' that ships"):
        load_plan(str(own))
    assert load_plan(str(own.rename(tmp_path / "mine.toml"))).name == "mine"
    with pytest.raises(UserError, match="did you mean `config`"):
        plan_of({"confg": {}}, "x", False)
    with pytest.raises(UserError, match="group of settings"):
        plan_of({"config": [1]}, "x", False)
