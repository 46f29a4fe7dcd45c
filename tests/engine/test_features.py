"""Feature distillation on tiny real models: what is cached, what is trained, what resumes."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from dqf.config import RunConfig
from dqf.data.encode import Encoder
from dqf.data.load import load_task
from dqf.errors import Cancelled, UserError
from dqf.models.loading import load_folder, load_source
from dqf.progress import SilentReporter
from dqf.settings import load_settings
from dqf.stages import teacher_features
from dqf.stages._cache import StageCache
from dqf.stages._context import Context
from dqf.stages._matching import MatchingLoss
from dqf.stages.student import train_student
from dqf.stages.teacher import make_teacher
from dqf.stages.teacher_features import attention_offsets, compute_teacher_features, plan_of
from dqf.stages.teacher_outputs import FILE, compute_teacher_outputs
from dqf.training import Recipe, train
from tests.support.tiny import tiny_config, write_bert, write_llama
from tests.support.tiny_runs import StopsAt

CUT = {"model": "teacher-layers", "keep_layers": "0,3", "epochs": 1}


@pytest.fixture
def make(tiny_env, tmp_path):
    """Return a function that makes a context of a tiny run with its own results folder."""

    def context(results="results", method="feature-kd", options=None, **changes):
        settings = load_settings(tmp_path / results)
        changes = {"distillation": {"method": method, "options": options or {}}, **changes}
        config = RunConfig.from_dict(tiny_config(tiny_env, **changes))
        task = load_task(config, settings)
        reporter = SilentReporter()
        cache = StageCache(settings.cache_dir, reporter)
        return Context(config, task, task.fingerprint(), settings, tmp_path, reporter, cache, torch.device("cpu"))

    return context


def student_of(context):
    """Return outputs of the teacher, its features and Student-KD."""
    teacher = make_teacher(context)
    features = compute_teacher_features(context, teacher)
    return teacher, features, train_student(context, teacher, compute_teacher_outputs(context, teacher), features)


def weights(output):
    return load_file(output.folder / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_cached_states_are_the_teachers_own(make, pooling):
    context = make(options={"layers": "2:1,4:2", "pooling": pooling})
    teacher = make_teacher(context)
    folder = compute_teacher_features(context, teacher).folder
    states, (mean, sd) = np.load(folder / "states.npy"), np.load(folder / "states_mean_sd.npy")
    assert states.dtype == np.float16
    assert states.shape == (len(context.task.train), 2, 32)
    np.testing.assert_allclose(mean, states.astype(np.float64).mean(0), atol=1e-4)
    np.testing.assert_allclose(sd, states.astype(np.float64).std(0), atol=1e-4)
    model = load_folder(teacher.folder)
    encoded = Encoder(model.tokenizer_json, 32)(context.task.train)
    for row in (0, 5):
        with torch.inference_mode():
            ids = torch.from_numpy(encoded.ids[row])[None]
            hidden = model.model(input_ids=ids, output_hidden_states=True).hidden_states
        for place, layer in enumerate((2, 4)):
            expected = hidden[layer][0, -1] if pooling == "last" else hidden[layer][0].mean(0)
            np.testing.assert_allclose(states[row, place], expected.numpy(), atol=3e-2)


def test_states_among_those_of_more_layers_are_not_computed_again(make, monkeypatch):
    def files(layers, results="results"):
        made = make(results, options={"layers": layers})
        folder = compute_teacher_features(made, make_teacher(made)).folder
        return [(folder / name).read_bytes() for name in ("states.npy", "states_mean_sd.npy")]

    alone = files("4:2", "alone")
    files("2:1,4:2")
    with monkeypatch.context() as patched:
        patched.setattr(teacher_features, "_predict_states", None)
        assert files("4:2") == alone
        assert files("4:1") == alone, "the student's layer decides nothing here"
        with pytest.raises(TypeError):
            files("3:1,4:2")
    assert files("3:1,4:2") == files("3:1,4:2", "alone")


def test_states_are_taken_up_where_they_stopped(make, monkeypatch):
    asked, inputs = [], teacher_features.to_inputs

    def noted(model, batch, device):
        asked.append(len(batch["input_ids"]))
        return inputs(model, batch, device)

    monkeypatch.setattr(teacher_features, "to_inputs", noted)
    monkeypatch.setattr(teacher_features, "BATCH_TOKENS", 200)
    options = {"layers": "last", "attention_weight": 1.0}
    straight, stopped = (make(name, options=options, student=CUT) for name in ("straight", "stopped"))
    whole = compute_teacher_features(straight, make_teacher(straight)).folder
    batches, asked[:] = list(asked), []
    assert len(batches) > 2
    teacher = make_teacher(stopped)
    with pytest.raises(Cancelled):
        compute_teacher_features(dataclasses.replace(stopped, reporter=StopsAt(sum(batches[:2]))), teacher)
    assert asked == batches[:2]
    found = compute_teacher_features(stopped, teacher).folder
    assert asked == batches, "no row is asked twice"
    for name in ("states.npy", "states_mean_sd.npy", "attention.npy"):
        assert (found / name).read_bytes() == (whole / name).read_bytes()
    assert {path.name for path in found.iterdir()} == {path.name for path in whole.iterdir()}


def test_students_learn_from_states_of_a_wider_teacher_with_other_tokens(make, tiny_env):
    write_llama(tiny_env / "wide", hidden=48)
    options, teacher = {"feature_weight": 5.0}, {"teacher": {"model": str(tiny_env / "wide")}}
    context = make(options=options, **teacher)
    _, features, student = student_of(context)
    assert np.load(features.folder / "states.npy").shape[1:] == (2, 48)
    _, none, plain = student_of(make(method="logit-kd", **teacher))
    assert none is None
    assert weights(student).keys() == weights(plain).keys(), "projections must not be saved"
    assert not same(weights(student), weights(plain))
    assert same(weights(student), weights(student_of(make("again", options=options, **teacher))[2]))
    _, none, without = student_of(make(options={"layers": "none"}, **teacher))
    assert none is None
    assert same(weights(without), weights(plain)), "without layers it is logit distillation"


def test_states_are_shared_by_students_and_weights(make):
    found = {
        compute_teacher_features(made, make_teacher(made)).key
        for made in (make(), make(seed=3), make(options={"feature_weight": 9.0, "distance": "cosine", "alpha": 0.1}))
    }
    assert len(found) == 1
    other = make(options={"layers": "last"})
    assert compute_teacher_features(other, make_teacher(other)).key not in found


def test_attention_of_one_tokenizer(make):
    context = make(options={"layers": "last", "attention_weight": 1.0}, student=CUT)
    teacher, features, student = student_of(context)
    model = load_folder(teacher.folder)
    encoded = Encoder(model.tokenizer_json, 32)(context.task.train)
    maps, offsets = np.load(features.folder / "attention.npy"), attention_offsets(encoded)
    assert len(maps) == offsets[-1]
    length = len(encoded.ids[3])
    with torch.inference_mode():
        ids = torch.from_numpy(encoded.ids[3])[None]
        expected = model.model(input_ids=ids, output_attentions=True).attentions[3][0].mean(0)
    found = maps[offsets[3] : offsets[4]].reshape(length, length)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-2)
    np.testing.assert_allclose(found.astype(np.float32).sum(1), 1, atol=1e-2)
    without = student_of(make(options={"layers": "last"}, student=CUT))[2]
    assert not same(weights(student), weights(without))


def test_token_level_matching_of_different_tokens_is_refused_by_the_stage_too(make):
    """As for models on the hub, whose tokenizers the check before the run has not seen."""
    context = make(options={"attention_weight": 1.0})
    with pytest.raises(UserError, match="same tokens"):
        student_of(context)


def test_training_resumes_with_the_projections_of_the_same_step(make, tiny_env, tmp_path):
    write_bert(tiny_env / "narrow", hidden=16)
    context = make(options={"feature_weight": 5.0}, student={"model": str(tiny_env / "narrow")})
    teacher = make_teacher(context)
    features = compute_teacher_features(context, teacher)
    logits = torch.from_numpy(np.load(compute_teacher_outputs(context, teacher).folder / FILE))
    plan = plan_of(context, teacher)
    labels = torch.from_numpy(context.task.train.labels)

    def trained(stops):
        for stop in (*stops, None):
            seeded = dataclasses.replace(context.config, seed=7 if stop is None and stops else 0)
            fresh = dataclasses.replace(context, config=seeded)  # another start than the one to be restored
            source = str(tiny_env / "narrow")
            student = load_source(source, context.task, context.settings, seeded.seed, tmp_path / "scratch")
            encoded = Encoder(student.tokenizer_json, 32)(context.task.train)
            loss = MatchingLoss(fresh, plan, student, encoded, logits, labels, features)
            checkpoint = tmp_path / f"checkpoint-{len(stops)}.pt"
            arguments = (student.model, encoded, student.pad_id, loss, Recipe(2, 1e-3, 8, 5), context.device)
            try:
                train(*arguments, checkpoint, StopsAt(stop))
            except Cancelled:
                continue
        assert len(loss.projections) == 2
        return {**student.model.state_dict(), **loss.state_dict()}

    straight, resumed = trained([]), trained([4, 9])
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
