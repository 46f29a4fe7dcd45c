"""What decides the keys of stages: hours of cached work hang on them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dqf.config import RunConfig, digest_of
from dqf.data.tasks import CLASSIFICATION, Examples, Task
from dqf.progress import SilentReporter
from dqf.settings import load_settings
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages.evaluate import evaluate_artifact
from dqf.stages.quantize import Form, quantize_student
from dqf.stages.student import train_student
from dqf.stages.teacher import make_teacher
from dqf.stages.teacher_features import compute_teacher_features
from dqf.stages.teacher_outputs import average_teacher_outputs, compute_teacher_outputs
from dqf.stages.verify import verify_artifact

TEACHER_KEY = "79b7d93f1a8542f9f42aba5c"
"""As it was before teachers had a seed of their own."""
OUTPUTS_KEY = "2a705025195c8b225cdbdf67"
STUDENT_KEYS = {
    "starter:minilm-l6": ("110caab8663d8dab16ca8477", "f0e3b8ee55589fa5258213d0"),
    "teacher-layers": ("5d57cc367e6c95f9435ef1b1", "a50d3be399e7a713c1d19a16"),
}
"""Of Student-FT and Student-KD, as they were before feature distillation."""


class Keys:
    """A stage cache that does no work and only tells the keys."""

    def __init__(self):
        self.by_stage = {}

    def run(self, stage, *, version, config, inputs, work):
        key = digest_of([stage, version, config, [one.key for one in inputs]])[:24]
        self.by_stage[stage] = key
        return Output(key, Path(), {}, "miss")


class OneMachine(Context):
    def numerics(self, training=False):
        return {"device": "cpu", "threads": 2}

    def training_facts(self):
        return self.numerics()


def context(**changes):
    none = Examples((), None, torch.zeros(0).numpy())
    task = Task("sst2", CLASSIFICATION, ("negative", "positive"), "accuracy", none, none)
    config = RunConfig.from_dict({"task": {"source": "glue:sst2"}, **changes})
    settings = load_settings("/tmp/results")
    return OneMachine(config, task, "0" * 64, settings, Path(), SilentReporter(), Keys(), torch.device("cpu"))


def keys(**changes):
    made = context(**changes)
    teacher = make_teacher(made)
    return teacher.key, train_student(made, teacher, None).key


def test_the_teachers_key_of_a_default_config_stays_what_it_was():
    assert keys()[0] == TEACHER_KEY


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"student": {"epochs": 1}}, {"distillation": {"options": {"alpha": 0.1}}}]
)
def test_students_share_the_teacher(changes):
    assert keys(**changes)[0] == TEACHER_KEY


@pytest.mark.parametrize("student", STUDENT_KEYS)
def test_the_students_keys_of_a_default_config_stay_what_they_were(student):
    made = context(student={"model": student})
    teacher = make_teacher(made)
    outputs = compute_teacher_outputs(made, teacher)
    assert outputs.key == OUTPUTS_KEY
    assert compute_teacher_features(made, teacher) is None
    found = (train_student(made, teacher, None).key, train_student(made, teacher, outputs, None).key)
    assert found == STUDENT_KEYS[student]


def test_altered_copies_decide_what_is_learnt_from_the_teacher_alone():
    plain, more = context(), context(distillation={"altered_copies": 2})
    teacher = make_teacher(more)
    assert teacher.key == make_teacher(plain).key
    assert train_student(more, teacher, None).key == train_student(plain, teacher, None).key
    outputs = compute_teacher_outputs(more, teacher)
    assert outputs.key != OUTPUTS_KEY
    assert train_student(more, teacher, outputs).key not in STUDENT_KEYS["starter:minilm-l6"]
    again = context(distillation={"altered_copies": 2}, task={"source": "glue:sst2", "seed": 1})
    assert compute_teacher_outputs(again, make_teacher(again)).key != outputs.key


def test_which_labels_are_seen_decides_the_students():
    """Another seed of the task draws other rows, also where the data are the same."""
    found = set()
    for seed in (0, 1):
        made = context(student={"label_rows": 10}, task={"source": "glue:sst2", "seed": seed})
        teacher = make_teacher(made)
        found |= {train_student(made, teacher, None).key, train_student(made, teacher, Output("o", Path(), {}, "")).key}
    assert len(found) == 4


def test_one_teacher_is_no_average_and_their_number_is_no_setting_of_the_student():
    plain, more = context(), context(distillation={"teachers": 3})
    teacher = make_teacher(plain)
    outputs = average_teacher_outputs(plain, (teacher,))
    assert outputs.key == OUTPUTS_KEY
    assert average_teacher_outputs(plain, (teacher, teacher)).key != OUTPUTS_KEY
    for learnt_from in (None, outputs):
        assert train_student(more, teacher, learnt_from).key == train_student(plain, teacher, learnt_from).key


def test_transfer_texts_decide_what_is_learnt_from_the_teacher_alone():
    plain, more = context(), context(distillation={"transfer": "glue:mnli"})
    teacher = make_teacher(more)
    assert train_student(more, teacher, None).key == train_student(plain, teacher, None).key
    outputs = compute_teacher_outputs(more, teacher)
    fewer = context(distillation={"transfer": "glue:mnli", "transfer_rows": 10})
    other = context(distillation={"transfer": "glue:qqp"})
    found = [outputs.key, compute_teacher_outputs(fewer, teacher).key, compute_teacher_outputs(other, teacher).key]
    assert len({OUTPUTS_KEY, *found}) == 4
    assert train_student(more, teacher, outputs).key not in STUDENT_KEYS["starter:minilm-l6"]
    unused = context(distillation={"transfer_rows": 10})
    assert compute_teacher_outputs(unused, teacher).key == OUTPUTS_KEY


def test_what_two_transfer_sets_have_in_common_is_scored_once():
    found = {}
    for name, changes in {
        "none": {},
        "copies": {"altered_copies": 2},
        "texts": {"transfer": "glue:mnli"},
        "both": {"altered_copies": 2, "transfer": "glue:mnli"},
    }.items():
        made = context(distillation=changes)
        compute_teacher_outputs(made, make_teacher(made))
        found[name] = made.cache.by_stage
        assert found[name]["teacher-outputs"] == OUTPUTS_KEY
    assert found["copies"]["teacher-outputs:altered"] == found["both"]["teacher-outputs:altered"]
    assert found["texts"]["teacher-outputs:outside"] == found["both"]["teacher-outputs:outside"]
    assert len({found[name]["teacher-outputs:joined"] for name in ("copies", "texts", "both")}) == 3
    assert list(found["none"]) == ["teacher", "teacher-outputs"]


def test_whether_long_trainings_are_compiled_decides_teachers_and_students(monkeypatch):
    made = context()
    found = {}
    for compiles in (False, True):
        monkeypatch.setattr("dqf.stages._context.can_compile", lambda device, answer=compiles: answer)
        found[compiles] = Context.training_facts(made)
    assert {**found[False], "compiles": True} == found[True]
    teacher, student = keys()
    monkeypatch.setattr(OneMachine, "training_facts", lambda self: {**self.numerics(), "compiles": True})
    assert keys()[0] != teacher
    shared = make_teacher(made)
    assert train_student(made, shared, None).key != student
    monkeypatch.setattr(OneMachine, "training_facts", OneMachine.numerics)
    assert train_student(made, shared, None).key == student


def test_how_pairs_are_cut_decides_the_keys_of_tasks_with_pairs():
    """Before, those of decoders were joined and cut at their end."""
    single = context()
    none = Examples((), (), torch.zeros(0).numpy())
    pairs = replace(single, task=replace(single.task, train=none))
    assert "pairs" not in single.data_facts()
    assert pairs.data_facts() == {**single.data_facts(), "pairs": "marked"}


def test_one_gpu_is_not_another(monkeypatch):
    def of(name):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
        return Context.numerics(replace(context(), device=torch.device("cuda:0")))

    assert of("NVIDIA A")["gpu"] == "NVIDIA A"
    assert of("NVIDIA A") != of("NVIDIA B")
    assert "gpu" not in Context.numerics(context())


def test_the_name_of_an_own_calibration_file_decides_nothing(tmp_path, monkeypatch):
    """Its content does: an upload has another path each time."""
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path))

    def key(name, text):
        (tmp_path / name).write_text(f"text\n{text}\n")
        made = context(quantization={"calibration": f"file:{tmp_path / name}"})
        return quantize_student(made, Output("student", Path(), {}, "hit"), Form(4), "quantize:x").key

    assert key("a.csv", "one text") == key("b.csv", "one text")
    assert key("a.csv", "one text") != key("a.csv", "another")


def test_another_commit_of_a_hub_model_is_another_model(monkeypatch):
    def of(revision):
        monkeypatch.setattr("dqf.stages.teacher.hub_revision", lambda source: revision)
        return keys(teacher={"model": "org/teacher"}, student={"model": "org/student"})

    before, after = of("a" * 40), of("b" * 40)
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert before == of("a" * 40)


def test_each_seed_decides_its_own_part():
    teacher, student = keys()
    assert keys(seed=1)[1] != student
    assert keys(teacher={"seed": 1})[0] != teacher


def test_adapters_decide_a_key_only_where_they_are_used():
    plain = keys()
    for settings in ({"lora_rank": 4}, {"lora_alpha": 8, "lora_dropout": 0.2}):
        assert keys(teacher=settings, student=settings) == plain
    teacher, student = keys(teacher={"tuning": "lora"}, student={"tuning": "lora"})
    assert teacher != plain[0]
    assert student != plain[1]
    ranks = {"tuning": "lora", "lora_rank": 4}
    assert keys(teacher=ranks, student=ranks) != (teacher, student)


def test_runtimes_are_tried_again_when_others_are_installed_or_gone(monkeypatch):
    def key(installed):
        monkeypatch.setattr("dqf.runtimes._select.importlib.util.find_spec", lambda name: name in installed or None)
        return verify_artifact(context(), Output("export", Path(), {}, "hit"), "verify:teacher").key

    everyone, with_onnx = key({"torch"}), key({"torch", "transformers", "onnx", "onnxscript", "onnxruntime"})
    assert with_onnx != everyone
    assert key({"torch"}) == everyone


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_another_version_of_a_runtimes_engine_verifies_and_evaluates_anew(monkeypatch, engine):
    def keys_of(version):
        monkeypatch.setattr("dqf.stages._context.versions", lambda: {engine: version})
        made, export = context(), Output("export", Path(), {}, "hit")
        return verify_artifact(made, export, "verify:x").key, evaluate_artifact(
            made, export, "a-runtime", "evaluate:x"
        ).key

    before, after = keys_of("1.0"), keys_of("1.1")
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert before == keys_of("1.0")


def test_another_version_of_an_engine_quantizes_anew(monkeypatch, tmp_path):
    def key(version, quantizer="autoawq"):
        monkeypatch.setattr("dqf.stages.quantize.versions", lambda: {"autoawq": version})
        made = context(quantization={"quantizer": quantizer})
        return quantize_student(made, Output("student", tmp_path, {}, "hit"), Form(4.0), "quantize:x").key

    assert key("0.2.8") != key("0.2.9")
    assert key("0.2.8", "gptq") == key("0.2.9", "gptq")
