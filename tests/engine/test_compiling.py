"""Blocks compiled for a training: the same answers within rounding, the same bits again, nothing left behind."""

import pytest
import torch

from dqf.config import RunConfig
from dqf.data.encode import Encoder
from dqf.data.load import load_task
from dqf.errors import Cancelled
from dqf.models import compiling
from dqf.models.compiling import can_compile, compiled_blocks, training_flops
from dqf.models.loading import layer_stack, load_source
from dqf.progress import SilentReporter
from dqf.settings import load_settings
from dqf.stages.teacher import hard_label_loss
from dqf.training import Recipe, train
from tests.support.tiny import tiny_config, write_bert

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, learning_rate=1e-3, batch_size=8, seed=5)


class Watcher(SilentReporter):
    """Stops at a step; collects losses and whether blocks were compiled."""

    def __init__(self, model, stop=None):
        self.model, self.stop, self.losses, self.compiled = model, stop, [], set()

    def progress(self, step, total, metrics=None):
        self.losses.append(metrics["loss"])
        self.compiled.add(all(block._compiled_call_impl is not None for block in layer_stack(self.model)[1]))
        if step == self.stop:
            raise Cancelled


@pytest.fixture
def trained(tiny_env, tmp_path, monkeypatch):
    """Return a function that trains a model, from so many FLOPs on compiled: its weights and what was seen."""
    settings = load_settings(tmp_path / "results")
    task = load_task(RunConfig.from_dict(tiny_config(tiny_env)), settings)

    def run(source, from_flops, stops=()):
        monkeypatch.setattr(compiling, "FROM_FLOPS", from_flops)
        checkpoint = tmp_path / "checkpoint.pt"
        for stop in (*stops, None):
            model = load_source(str(source), task, settings, 0, tmp_path / "scratch")
            encoded = Encoder(model.tokenizer_json, 32)(task.train)
            watcher = Watcher(model.model, stop)
            with compiled_blocks(model.model, encoded, RECIPE, CPU, watcher):
                try:
                    train(model.model, encoded, model.pad_id, hard_label_loss(task), RECIPE, CPU, checkpoint, watcher)
                except Cancelled:
                    continue
        checkpoint.unlink(missing_ok=True)
        assert all(block._compiled_call_impl is None for block in layer_stack(model.model)[1])
        return model.model.state_dict(), watcher

    return run


@pytest.mark.skipif(not can_compile(CPU), reason="no C++ compiler, or no headers of Python")
def test_a_long_training_is_compiled_and_comes_to_the_same(trained, tiny_env):
    plain, seen = trained(tiny_env / "teacher", 1e30)
    assert seen.compiled == {False}
    compiled, fused = trained(tiny_env / "teacher", 0)
    assert fused.compiled == {True}
    assert fused.losses == pytest.approx(seen.losses, rel=0.02)
    moved = [name for name, tensor in plain.items() if not torch.allclose(compiled[name], tensor, atol=0.02)]
    assert not moved
    resumed, _ = trained(tiny_env / "teacher", 0, stops=(9,))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in compiled.items())


def test_blocks_with_dropout_and_short_trainings_stay_as_they_are(trained, tiny_env, tmp_path):
    bert = write_bert(tiny_env / "drops", hidden_dropout_prob=0.1)
    assert trained(bert, 0)[1].compiled == {False}
    assert trained(tiny_env / "teacher", 2e13)[1].compiled == {False}


def test_operations_are_counted_by_weights_and_tokens(trained, tiny_env, tmp_path):
    settings = load_settings(tmp_path / "results")
    task = load_task(RunConfig.from_dict(tiny_config(tiny_env)), settings)
    model = load_source(str(tiny_env / "teacher"), task, settings, 0, tmp_path / "scratch")
    encoded = Encoder(model.tokenizer_json, 32)(task.train)
    tokens = sum(len(ids) for ids in encoded.ids)
    weights = sum(one.numel() for name, one in model.model.named_parameters() if ".layers." in name)
    assert training_flops(model.model, encoded, RECIPE) == 6 * 2 * weights * tokens


def test_whether_blocks_can_be_compiled(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCH_COMPILE_DISABLE", raising=False)
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    assert not can_compile(CPU)
    (tmp_path / "no-such-compiler").write_text("#!/bin/sh\n")
    (tmp_path / "no-such-compiler").chmod(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert not can_compile(CPU)
    (tmp_path / "Python.h").touch()
    assert can_compile(CPU)
    assert not can_compile(torch.device("cuda"))
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    assert not can_compile(CPU)
