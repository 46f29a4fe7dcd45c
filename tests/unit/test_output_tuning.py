"""All codes and scales of a model, trained together on its answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dqf.data.encode import Encoded
from dqf.errors import Cancelled
from dqf.progress import SilentReporter
from dqf.quant import output_tuning
from dqf.quant.latent import STRETCH_UNIT, Latent, trainable
from dqf.quant.model import Scope, quantize_model
from dqf.quant.output_tuning import output_distance, rows_for, tune_outputs, tuned_receipts
from dqf.quant.qparams import Granularity, choose_qparams, quantize
from tests.support.tiny import write_bert, write_llama
from tests.unit.test_quantize_model import batches, load, method

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["bert", "llama"])
def folder(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return (write_bert if request.param == "bert" else write_llama)(root / "model")


def texts(count=400, seed=3):
    rng = np.random.default_rng(seed)
    ids = tuple(rng.integers(4, 40, rng.integers(4, 14)) for _ in range(count))
    return Encoded(ids, tuple(np.zeros_like(one) for one in ids))


def sure(folder):
    """Return an untrained classifier whose answers differ from text to text, as a trained one's do."""
    torch.manual_seed(0)  # of the head, which the folder does not hold
    model = load(folder)
    head = model.classifier if hasattr(model, "classifier") else model.score
    head.weight.data *= 40
    return model


def quantized(folder, bits=2, name="gptq"):
    return quantize_model(sure(folder), method(name, bits), batches(), SilentReporter(), Scope())


def tune(folder, weights, tmp_path, steps=40, reporter=None, rest=None):
    model = sure(folder)
    made = tune_outputs(
        model, weights, rest or {}, texts(), 0, steps, 16, CPU, tmp_path / "checkpoint.pt", reporter or SilentReporter()
    )
    return model, made


def test_answers_come_nearer_and_the_model_holds_what_is_stored(folder, tmp_path):
    weights, _ = quantized(folder)
    model, tuned = tune(folder, weights, tmp_path, steps=120)
    assert tuned.after < 0.7 * tuned.before
    assert tuned.rows == 50
    assert set(tuned.weights) == set(weights)
    for name, weight in tuned.weights.items():
        assert torch.equal(model.get_parameter(name).detach(), weight.dequantize())
        assert weight.codes.dtype == torch.uint8
        assert int(weight.codes.max()) <= 3
        assert weight.granularity == weights[name].granularity
        assert weight.int8_scale is weights[name].int8_scale
    changed = [name for name in weights if not torch.equal(tuned.weights[name].codes, weights[name].codes)]
    assert any("embed" in name for name in changed)
    assert any("mlp" in name or "intermediate" in name for name in changed)
    # On texts that neither saw.
    other = texts(60, seed=9)
    full, before = sure(folder), sure(folder)
    with torch.no_grad():
        for name, weight in weights.items():
            before.get_parameter(name).copy_(weight.dequantize())
    answers = [output_tuning.predict(one, other, 0, CPU, SilentReporter()) for one in (full, before, model)]
    assert output_distance(answers[2], answers[0]).mean() < 0.8 * output_distance(answers[1], answers[0]).mean()


def test_receipts_tell_the_errors_of_what_was_kept(folder, tmp_path):
    weights, receipts = quantized(folder)
    model, tuned = tune(folder, weights, tmp_path)
    original = sure(folder)
    told = tuned_receipts(receipts, tuned, model, lambda name: original.get_parameter(name).detach(), batches())
    assert [one.name for one in told] == [one.name for one in receipts]
    assert {(one.output_distance_before, one.output_distance) for one in told} == {(tuned.before, tuned.after)}
    for one in told:
        if one.kind == "embedding":
            weight = original.get_parameter(one.name).detach()
            error = (weight - tuned.weights[one.name].dequantize()).square().sum() / weight.square().sum()
            assert one.error == pytest.approx(float(error), rel=1e-4)
    layer = next(name for name in weights if "layer" in name)
    inputs = []
    handle = model.get_submodule(layer.removesuffix(".weight")).register_forward_pre_hook(
        lambda _module, args: inputs.append(args[0].detach().float())
    )
    with torch.no_grad(), output_tuning.autocast(CPU):
        for batch in batches():
            model(**batch)
    handle.remove()
    masks = [batch["attention_mask"].bool() for batch in batches()]
    x = torch.cat([one[mask] for one, mask in zip(inputs, masks, strict=True)])
    weight, kept = original.get_parameter(layer).detach(), tuned.weights[layer].dequantize()
    expected = ((weight - kept) @ x.T).square().sum() / (weight @ x.T).square().sum()
    assert next(one for one in told if one.name == layer).error == pytest.approx(float(expected), rel=0.02)


def test_what_brings_answers_no_nearer_is_undone(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(output_tuning, "LEARNING_RATE", 50.0)
    weights, receipts = quantized(folder, bits=4)
    model, tuned = tune(folder, weights, tmp_path, steps=4)
    assert tuned.after == tuned.before
    assert all(tuned.weights[name] is weights[name] for name in weights)
    told = tuned_receipts(receipts, tuned, model, None, batches())
    assert [one.error for one in told] == [one.error for one in receipts]
    assert {one.output_distance for one in told} == {tuned.before}


def test_an_engines_errors_stay_as_it_left_them(folder, tmp_path):
    weights, receipts = quantized(folder)
    model, tuned = tune(folder, weights, tmp_path)
    told = tuned_receipts(receipts, tuned, model, None, batches())
    assert [one.error for one in told] == [one.error for one in receipts]
    assert {one.output_distance for one in told} == {tuned.after}


def test_interrupted_tuning_ends_with_the_same_codes(folder, tmp_path):
    class Stops(SilentReporter):
        def progress(self, step, total, metrics=None):
            if step == 7 and metrics:
                raise Cancelled

    weights, _ = quantized(folder)
    (tmp_path / "a").mkdir()
    _, straight = tune(folder, weights, tmp_path / "a", steps=12)
    with pytest.raises(Cancelled):
        tune(folder, weights, tmp_path, steps=12, reporter=Stops())
    _, resumed = tune(folder, weights, tmp_path, steps=12)
    for name, weight in straight.weights.items():
        assert torch.equal(weight.codes, resumed.weights[name].codes)
        assert torch.equal(weight.scale, resumed.weights[name].scale)


def test_parameters_that_the_quantizer_changed_are_used(folder, tmp_path):
    weights, _ = quantized(folder)
    norms = {name: one.detach() * 1.5 for name, one in sure(folder).named_parameters() if "norm" in name.lower()}
    model, tuned = tune(folder, weights, tmp_path, steps=1, rest=norms)
    assert all(torch.equal(model.get_parameter(name), one) for name, one in norms.items())
    _, plain = tune(folder, weights, tmp_path / "none", steps=1)
    assert tuned.before != plain.before


def test_a_tied_table_is_trained_once():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=64, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    whole = {name: one.detach().clone() for name, one in model.named_parameters()}
    granularity = Granularity(2, 16)
    weights = {
        name: quantize(one, choose_qparams(one, granularity), granularity)
        for name, one in whole.items()
        if one.ndim == 2
    }
    ids = torch.randint(0, 64, (4, 8))
    with trainable(model, weights) as latents:
        trained = [one for one in model.parameters() if one.requires_grad]
        assert len(trained) == 2 * len(weights)
        model(input_ids=ids).logits.logsumexp(-1).sum().backward()
        table = latents["model.embed_tokens.weight"]
        assert table.shift.grad is not None
        with torch.no_grad():
            table.shift += 1.2
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    assert torch.equal(model.lm_head.weight, table.rounded().dequantize())


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_are_those_of_the_plain_formula(symmetric):
    torch.manual_seed(1)
    weight = torch.randn(6, 32)
    granularity = Granularity(2, 16, symmetric)
    start = quantize(weight, choose_qparams(weight, granularity), granularity)
    latent = Latent(start, weight)
    with torch.no_grad():
        latent.shift += torch.randn(6, 32)
        latent.stretch += torch.randn(6, 2)
    wanted = torch.randn(6, 32)

    def plain(shift, stretch):
        place = (latent.place + shift).view(6, 2, 16)
        inside = place.clamp(0, 3)
        codes = inside + (inside.round() - inside).detach()
        zero = 2 if symmetric else start.zero_point.float().unsqueeze(-1)
        scale = start.scale.float().unsqueeze(-1) * (1 + STRETCH_UNIT * stretch.unsqueeze(-1))
        return ((codes - zero) * scale).flatten(1)

    ours = (latent.weight() * wanted).sum()
    theirs = (plain(latent.shift, latent.stretch) * wanted).sum()
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    both = (latent.shift, latent.stretch)
    for one, other in zip(torch.autograd.grad(ours, both), torch.autograd.grad(theirs, both), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_distance_of_single_outputs_and_of_classes():
    assert output_distance(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [2.0]])).tolist() == [2.0, 0.0]
    logits = torch.tensor([[0.0, 0.0]])
    wanted = torch.tensor([[np.log(3.0), 0.0]], dtype=torch.float32)
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert float(output_distance(logits, wanted)) == pytest.approx(expected, rel=1e-5)


def test_no_step_needs_a_text_twice():
    assert rows_for(100, 32) * (1 - output_tuning.HELD_BACK) >= 3200
