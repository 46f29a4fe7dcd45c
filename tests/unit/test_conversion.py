"""One conversion of a network serves all models of it, unless something was computed of their weights."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from dqf.models.loading import takes_token_types
from dqf.runtimes import _conversion
from dqf.runtimes._conversion import graph_without_weights
from dqf.runtimes._ov import PREFIX, ov
from tests.support.tiny import write_bert, write_llama


class OffsetNorm(nn.Module):
    """Multiplies by one plus its weight, as Gemma's norm does: a conversion computes the sum once and for all."""

    def __init__(self, hidden):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden))
        self.idle = nn.Parameter(torch.zeros(hidden))

    def forward(self, states):
        return states * (1 + self.weight)


def load(folder):
    config = AutoConfig.from_pretrained(folder, num_labels=3, pad_token_id=0, use_cache=False)
    return AutoModelForSequenceClassification.from_pretrained(folder, config=config, attn_implementation="eager").eval()


@pytest.fixture(params=[write_bert, write_llama], ids=["bert", "llama"])
def model(request, tmp_path):
    return load(request.param(tmp_path))


@pytest.fixture(autouse=True)
def nothing_converted_before(monkeypatch):
    monkeypatch.setattr(_conversion, "_last", {})


def inputs_of(model):
    return ["input_ids", "attention_mask", *(["token_type_ids"] if takes_token_types(model) else [])]


def changed(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return model


def logits_of_graph(model):
    """Return the graph's logits, its weights fed in, and those of the model."""
    names = inputs_of(model)
    graph = graph_without_weights(model, names)
    batch = {name: torch.zeros(2, 7, dtype=torch.long) for name in names}
    batch["input_ids"] = torch.arange(14).reshape(2, 7) + 4
    batch["attention_mask"] = torch.ones(2, 7, dtype=torch.long)
    fed = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    values = [batch[name].numpy() for name in names]
    for node in graph.get_parameters()[len(names) :]:
        name = node.get_friendly_name().removeprefix(PREFIX)
        values.append(fed[name].reshape(list(node.get_output_shape(0))))
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.no_grad():
        return compiled(values)[0], model(**batch).logits.numpy()


def conversions(monkeypatch):
    done = []
    convert = _conversion._convert
    monkeypatch.setattr(_conversion, "_convert", lambda *given: done.append(1) or convert(*given))
    return done


def test_a_network_is_converted_once_for_all_its_models(model, monkeypatch):
    done = conversions(monkeypatch)
    for seed in (1, 2):
        model.config._name_or_path = f"somewhere/{seed}"
        ours, theirs = logits_of_graph(changed(model, seed))
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert len(done) == 1
    model.config.num_labels = 5
    graph_without_weights(model, inputs_of(model))
    assert len(done) == 2, "another network"
    model.register_buffer("held", torch.ones(3))
    graph_without_weights(model, inputs_of(model))
    model.held += 1
    graph_without_weights(model, inputs_of(model))
    assert len(done) == 4, "buffers become constants that no variant fills in"


def test_vectors_that_all_look_alike_keep_their_places_and_values(model):
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.fill_(1.0)
    graph_without_weights(model, inputs_of(model))
    assert all((weight == 1).all() for weight in model.parameters() if weight.dim() == 1)
    ours, theirs = logits_of_graph(changed(model, 3))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_what_was_computed_of_weights_serves_their_model_alone(tmp_path, monkeypatch):
    model = load(write_llama(tmp_path))
    model.model.norm = OffsetNorm(model.config.hidden_size)
    done = conversions(monkeypatch)
    for seed in (1, 2):
        ours, theirs = logits_of_graph(changed(model, seed))
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert len(done) == 4, "each model twice: to see that it cannot be shared, and for itself"


def test_a_conversion_tells_nobody(tmp_path):
    folder, home = write_bert(tmp_path / "bert"), tmp_path / "home"
    home.mkdir()
    code = """
import sys
from tests.unit.test_conversion import graph_without_weights, inputs_of, load
model = load(sys.argv[1])
graph_without_weights(model, inputs_of(model))
assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)
"""
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (home / "intel").exists()
