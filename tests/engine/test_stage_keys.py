"""What decides the keys of stages: hours of cached work hang on them."""

from pathlib import Path

import pytest
import torch

from dqf.config import RunConfig, digest_of
from dqf.data.tasks import CLASSIFICATION, Examples, Task
from dqf.progress import SilentReporter
from dqf.settings import load_settings
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages.student import train_student
from dqf.stages.teacher import make_teacher

TEACHER_KEY = "79b7d93f1a8542f9f42aba5c"
"""As it was before teachers had a seed of their own."""


class Keys:
    """A stage cache that does no work and only tells the key."""

    def run(self, stage, *, version, config, inputs, work):
        key = digest_of([stage, version, config, [one.key for one in inputs]])[:24]
        return Output(key, Path(), {}, "miss")


class OneMachine(Context):
    def numerics(self):
        return {"device": "cpu", "threads": 2}


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


def test_each_seed_decides_its_own_part():
    teacher, student = keys()
    assert keys(seed=1)[1] != student
    assert keys(teacher={"seed": 1})[0] != teacher
