"""What serves a variant when the runtime that was asked for is not faithful: a real artifact, real processes."""

import dataclasses

import pytest
import torch

from dqf.config import RunConfig
from dqf.data.load import load_task
from dqf.errors import UserError
from dqf.pipeline import _check_runtimes, make_models
from dqf.progress import SilentReporter
from dqf.runtimes import _select
from dqf.stages import evaluate, verify
from dqf.stages._cache import StageCache
from dqf.stages._choice import choose, pooled_latencies
from dqf.stages._context import Context
from dqf.stages._fixed_lengths import read_fixed_lengths
from dqf.stages.evaluate import evaluate_artifact
from dqf.stages.export import export_artifact
from dqf.stages.teacher import make_teacher
from dqf.stages.verify import read_verification, verify_artifact
from tests.support.tiny import tiny_config
from tests.support.tiny_runs import Said

TEACHER = {"variant": "teacher", "bits": 16.0, "quantizer": None}


@pytest.fixture
def context(settings, tiny_env, tmp_path):
    config = RunConfig.from_dict(tiny_config(tiny_env, measurement={"runtime": "torch-bf16"}))
    task = load_task(config, settings)
    reporter = SilentReporter()
    cache = StageCache(settings.cache_dir, reporter)
    return Context(config, task, task.fingerprint(), settings, tmp_path, reporter, cache, torch.device("cpu"))


def candidates_anew(context, export, folder):
    """Try all with an empty stage cache."""
    anew = dataclasses.replace(context, cache=StageCache(folder, context.reporter))
    return read_verification(verify_artifact(anew, export, "verify:teacher"))["candidates"]


def test_a_runtime_that_is_asked_for_but_not_faithful_gives_way_to_another(context, tmp_path, monkeypatch):
    monkeypatch.setattr(_select, "_installed", lambda entry: entry.name.startswith("torch"))  # two will do
    export = export_artifact(context, make_teacher(context), TEACHER, "export:teacher")
    (asked,) = candidates_anew(context, export, tmp_path / "asked")  # nothing else was started
    assert (asked["runtime"], asked["faithful"]) == ("torch-bf16", True)

    monkeypatch.setattr(verify, "TOLERANCE", 0.1 * asked["relative_l2_error"])  # less than BF16 rounds away
    found = candidates_anew(context, export, tmp_path / "stricter")
    assert (found[0]["runtime"], found[0]["faithful"]) == ("torch-bf16", False)
    chosen = choose(found, pooled_latencies([found]))
    assert (chosen["precision"], chosen["faithful"]) == ("FP32", True)

    monkeypatch.setattr(_select, "_installed", lambda entry: entry.name == "torch-fp32")
    monkeypatch.setattr(verify, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="some runtime must reproduce the model's logits"):
        candidates_anew(context, export, tmp_path / "none")


@pytest.mark.parametrize("when", ["starting", "answering"])
def test_a_process_that_was_killed_once_does_not_rule_its_runtime_out(context, tmp_path, monkeypatch, when):
    """What is chosen is cached: by chance a teacher would be served by a slower runtime ever after."""
    monkeypatch.setattr(_select, "_installed", lambda entry: entry.name == "torch-bf16")
    started = []

    class KilledAtFirst(verify.Served):
        def __init__(self, *arguments):
            started.append(1)
            if when == "starting" and len(started) == 1:
                raise verify.ServingEnded("the torch-bf16 process was killed")
            super().__init__(*arguments)

        def logits(self, *arguments, **options):
            if when == "answering" and len(started) == 1:
                self._process.kill()
            return super().logits(*arguments, **options)

    monkeypatch.setattr(verify, "Served", KilledAtFirst)
    export = export_artifact(context, make_teacher(context), TEACHER, "export:teacher")
    (found,) = candidates_anew(context, export, tmp_path / "cache")
    assert (found["runtime"], found["error"]) == ("torch-bf16", "")
    assert "ended" not in found
    assert len(started) == 2


def test_a_process_that_was_killed_once_while_fitting_lengths_does_not_leave_the_model_without_them(
    context, tmp_path, monkeypatch
):
    """None would be cached, and the model timed without them ever after."""
    monkeypatch.setattr(_select, "_installed", lambda entry: entry.name == "openvino-fp32")
    config = RunConfig.from_dict({**context.config.to_dict(), "measurement": {"runtime": "openvino-fp32"}})
    context = dataclasses.replace(context, config=config)
    export = export_artifact(context, make_teacher(context), TEACHER, "export:teacher")
    started = []

    class KilledAtFirst(evaluate.Served):
        def __init__(self, *arguments):
            started.append(1)
            super().__init__(*arguments)

        def fix_lengths(self, lengths):
            if len(started) == 1:
                self._process.kill()
                self._process.wait()
            super().fix_lengths(lengths)

    monkeypatch.setattr(evaluate, "Served", KilledAtFirst)
    found = read_fixed_lengths(evaluate_artifact(context, export, "openvino-fp32", "evaluate:teacher"))
    assert len(started) == 2
    assert "mb_each" in found
    assert "error" not in found


def test_a_runtime_that_does_not_serve_the_device_is_refused_before_any_work(settings, tiny_env, monkeypatch):
    """Another one would take its place without a word; of a shared one nothing would be timed at all."""
    told = Said()
    monkeypatch.setattr("dqf.pipeline.choose_device", lambda device: torch.device("cuda"))
    tiny = RunConfig.from_dict(tiny_config(tiny_env, measurement={"runtime": "openvino-fp32"}))
    with pytest.raises(UserError, match="does not serve cuda"):
        make_models(tiny, settings.results_dir, settings, SilentReporter())
    asked = RunConfig.from_dict({"measurement": {"runtime": "openvino-fp32", "shared_runtime": "openvino-bf16"}})
    _check_runtimes(asked, torch.device("cpu"), told)
    with pytest.raises(UserError, match=r"`measurement.runtime` openvino-fp32 does not serve cuda: choose auto"):
        _check_runtimes(asked, torch.device("cuda"), told)
    assert not told.texts
    shared = RunConfig.from_dict({"measurement": {"shared_runtime": "openvino-bf16"}})
    _check_runtimes(shared, torch.device("cuda"), told)
    assert told.texts == [
        "`measurement.shared_runtime` openvino-bf16 does not serve cuda: nothing will be timed in one runtime; choose "
        "another, or the device cpu."
    ]
