"""Adapters on tiny real models: what is trained, recorded, saved and resumed."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from dqf.config import RunConfig
from dqf.data.encode import Encoder
from dqf.data.load import load_task
from dqf.data.tasks import labelled_rows
from dqf.errors import Cancelled, UserError
from dqf.memory import PeakMemory
from dqf.models.loading import load_folder, load_source
from dqf.progress import SilentReporter
from dqf.settings import load_settings
from dqf.stages._cache import StageCache
from dqf.stages._context import Context
from dqf.stages._tuning import prepare
from dqf.stages.student import train_student
from dqf.stages.teacher import hard_label_loss, make_teacher, make_teachers
from dqf.stages.teacher_features import compute_teacher_features
from dqf.stages.teacher_outputs import FILE, average_teacher_outputs, compute_teacher_outputs
from dqf.training import Recipe, train
from tests.support.tiny import tiny_config, write_bert
from tests.support.tiny_runs import StopsAt

ADAPTED = {"tuning": "lora", "lora_rank": 4, "lora_dropout": 0.1}


@pytest.fixture
def make(tiny_env, tmp_path):
    """Return a function that makes a context of a tiny run with its own results folder."""

    def context(results="results", **changes):
        settings = load_settings(tmp_path / results)
        config = RunConfig.from_dict(tiny_config(tiny_env, **changes))
        task = load_task(config, settings)
        reporter = SilentReporter()
        cache = StageCache(settings.cache_dir, reporter)
        return Context(config, task, task.fingerprint(), settings, tmp_path, reporter, cache, torch.device("cpu"))

    return context


def weights(output):
    return load_file(output.folder / "model.safetensors")


def test_teacher_and_student_are_tuned_by_adapters_and_saved_as_plain_models(make):
    def both(**changes):
        context = make(**changes)
        teacher = make_teacher(context)
        return teacher, train_student(context, teacher, None)

    full, adapted = both(), both(teacher=ADAPTED, student=ADAPTED)
    again = both(results="again", teacher=ADAPTED, student=ADAPTED)
    for plain, one, same in zip(full, adapted, again, strict=True):
        assert plain.metrics["trained_params"] == plain.metrics["params"]
        assert one.metrics["params"] == plain.metrics["params"]
        assert 0 < one.metrics["trained_params"] < 0.5 * one.metrics["params"]
        assert one.metrics["peak_memory_bytes"] > 50e6
        assert one.metrics["train_seconds"] > 0
        left, right, third = weights(plain), weights(one), weights(same)
        assert {name: tensor.shape for name, tensor in left.items()} == {
            name: tensor.shape for name, tensor in right.items()
        }
        assert all(np.array_equal(right[name], third[name]) for name in right)
        block = next(name for name in right if name.endswith(("q_proj.weight", "query.weight")))
        assert not np.array_equal(left[block], right[block])
        assert load_folder(one.folder).config.num_labels == 2


def test_training_with_adapters_resumes_at_the_step(make, tiny_env, tmp_path):
    context = make(student=ADAPTED)
    config = context.config.student

    def trained(stops):
        for stop in (*stops, None):
            student = load_source(str(tiny_env / "student"), context.task, context.settings, 0, tmp_path / "scratch")
            encoded = Encoder(student.tokenizer_json, 32)(context.task.train)
            merge = prepare(student.model, config, seed=7 if stop is None and stops else 0)
            loss, checkpoint = hard_label_loss(context.task), tmp_path / f"checkpoint-{len(stops)}.pt"
            arguments = (student.model, encoded, student.pad_id, loss, Recipe(2, 1e-3, 8, 5), context.device)
            try:
                train(*arguments, checkpoint, StopsAt(stop))
            except Cancelled:
                continue
        merge()
        return student.model.state_dict()

    straight, resumed = trained([]), trained([4, 9])
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_peak_memory_starts_afresh():
    big = torch.ones(50_000_000)
    high = PeakMemory(torch.device("cpu")).bytes()
    del big
    low = PeakMemory(torch.device("cpu")).bytes()
    assert low < high - 150e6
    mark = PeakMemory(torch.device("cpu"))
    big = torch.ones(50_000_000)
    del big
    assert mark.bytes() > low + 150e6


def test_hidden_labels_reach_neither_student_and_cost_neither_a_step(make, tiny_env):
    scores = np.random.default_rng(0).random(120) * 5
    frame = pd.DataFrame({"text": [f"the film number {i}" for i in range(120)], "label": scores})
    frame.to_parquet(tiny_env / "scores.parquet")
    source = {"source": f"file:{tiny_env / 'scores.parquet'}", "text_column": "text", "label_column": "label"}

    def both(**student):
        context = make(student=student, task=source)
        teacher = make_teacher(context)
        outputs = compute_teacher_outputs(context, teacher)
        return context, train_student(context, teacher, None), train_student(context, teacher, outputs)

    _, plain, distilled = both()
    context, few, helped = both(label_rows=16)
    assert few.metrics["steps"] == plain.metrics["steps"] == helped.metrics["steps"] == distilled.metrics["steps"]
    assert {few.key, helped.key}.isdisjoint({plain.key, distilled.key})
    hidden = np.ones(len(context.task.train), dtype=bool)
    hidden[labelled_rows(context.task.train, 16, context.config.task.seed, False)] = False
    context.task.train.labels[hidden] += 3
    teacher = make_teacher(context)
    outputs = compute_teacher_outputs(context, teacher)
    shutil.rmtree(few.folder)
    shutil.rmtree(helped.folder)
    again = train_student(context, teacher, None), train_student(context, teacher, outputs)
    for one, same in zip((few, helped), again, strict=True):
        assert one.metrics["loss"] == same.metrics["loss"]


@pytest.mark.parametrize("method", ["logit-kd", "feature-kd"])
def test_transfer_texts_are_learnt_from_in_the_same_number_of_steps(make, tiny_env, method):
    pd.DataFrame({"text": [f"transfer text {i}" for i in range(40)]}).to_csv(tiny_env / "own.csv", index=False)

    def distilled(**distillation):
        context = make(distillation={"method": method, **distillation})
        teacher = make_teacher(context)
        outputs, features = compute_teacher_outputs(context, teacher), compute_teacher_features(context, teacher)
        assert outputs.metrics["rows"] == len(context.task.train) + (30 if distillation else 0)
        return train_student(context, teacher, outputs, features)

    plain, more = distilled(), distilled(transfer=f"file:{tiny_env / 'own.csv'}", transfer_rows=30)
    assert more.metrics["steps"] == plain.metrics["steps"]
    assert more.metrics["loss"] != plain.metrics["loss"]


@pytest.mark.parametrize("method", ["logit-kd", "feature-kd"])
def test_altered_copies_are_learnt_from_in_the_same_number_of_steps(make, method):
    def distilled(copies):
        context = make(distillation={"method": method, "altered_copies": copies})
        teacher = make_teacher(context)
        outputs, features = compute_teacher_outputs(context, teacher), compute_teacher_features(context, teacher)
        assert outputs.metrics["rows"] == (1 + copies) * len(context.task.train)
        return train_student(context, teacher, outputs, features)

    plain, more = distilled(0), distilled(2)
    assert more.metrics["steps"] == plain.metrics["steps"]
    assert more.metrics["loss"] != plain.metrics["loss"]


def test_averaged_teachers_are_those_of_the_next_seeds_and_the_student_learns_their_mean(make):
    context = make(distillation={"teachers": 2}, teacher={"seed": 7})
    teachers = make_teachers(context)
    assert [one.folder for one in teachers] == [make_teacher(make(teacher={"seed": seed})).folder for seed in (7, 8)]
    mean = average_teacher_outputs(context, teachers)
    apart = [np.load(compute_teacher_outputs(context, one).folder / FILE) for one in teachers]
    assert not np.array_equal(*apart)
    np.testing.assert_allclose(np.load(mean.folder / FILE), (apart[0] + apart[1]) / 2, rtol=1e-6, atol=1e-7)
    alone = train_student(context, teachers[0], average_teacher_outputs(context, teachers[:1]))
    both = train_student(context, teachers[0], mean)
    assert both.metrics["steps"] == alone.metrics["steps"]
    assert both.metrics["loss"] != alone.metrics["loss"]


def test_teachers_that_bring_their_head_are_all_the_same(make, tiny_env):
    teacher = write_bert(tiny_env / "with-head", id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    context = make(distillation={"teachers": 2}, teacher={"model": str(teacher)})
    with pytest.raises(UserError, match=r"must be fine-tuned here, each with a seed of its own: .* instead of 2"):
        make_teachers(context)
