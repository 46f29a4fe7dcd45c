"""Codes and scales of a block, trained together: nearer to full precision, and stored as they are used."""

from __future__ import annotations

import copy

import pytest
import torch

from dqf import registry
from dqf.models.streaming import StreamedModel
from dqf.progress import SilentReporter
from dqf.quant.latent import NEAR, Latent
from dqf.quant.model import Scope, quantize_model
from dqf.quant.qparams import Granularity, choose_qparams, quantize
from dqf.quant.work import Method, local_name
from tests.support.tiny import write_bert, write_llama
from tests.unit.test_quantize_model import batches, load

BLOCKS_ONLY = Scope(embeddings=False, head=False)


@pytest.fixture(scope="module", params=["bert", "llama"])
def folder(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return (write_bert if request.param == "bert" else write_llama)(root / "model")


def tuned_by(steps, name="gptq", bits=2, bits_of=None, symmetric=False):
    entry = registry.get("quantizer", name)
    return Method(entry, entry.config(), Granularity(bits, 16, symmetric), bits_of, steps)


def samples(count, seed):
    """Return batches of texts, so many that a block cannot learn them by heart."""
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.randint(4, 40, (16, 12), generator=generator) for _ in range(count)]
    return [{"input_ids": one, "attention_mask": torch.ones_like(one)} for one in ids]


def quantized(folder, method, source=None, calibration=None):
    """Return the quantized model, its weights and receipts."""
    model = load(folder) if source is None else source.model
    calibration = calibration or batches()
    weights, receipts = quantize_model(model, method, calibration, SilentReporter(), BLOCKS_ONLY, source)
    return model, weights, receipts


@torch.no_grad()
def distance(folder, model):
    """Return the relative error of what the blocks give for texts that the model was not calibrated on."""
    whole, error, size = load(folder), 0.0, 0.0
    for batch in samples(4, seed=1):
        target = whole(**batch, output_hidden_states=True).hidden_states[-1]
        output = model(**batch, output_hidden_states=True).hidden_states[-1]
        error += float((output - target).square().sum())
        size += float(target.square().sum())
    return error / size


@pytest.mark.parametrize("name", ["gptq", "awq", "rtn"])
def test_tuned_blocks_are_nearer_to_full_precision_and_so_is_the_model(folder, name, monkeypatch):
    # An untrained block adds little to what goes through it: in BF16 its rounding would be all there is to learn.
    monkeypatch.setattr("dqf.quant.calibration.autocast", lambda device: torch.autocast("cpu", enabled=False))
    texts = samples(20, seed=0)
    plain, _, _ = quantized(folder, tuned_by(0, name, 3), calibration=texts)
    tuned, weights, receipts = quantized(folder, tuned_by(80, name, 3), calibration=texts)
    assert all(one.block_error <= one.block_error_before for one in receipts)
    assert min(one.block_error / one.block_error_before for one in receipts) < 0.9
    assert distance(folder, tuned) < distance(folder, plain)
    for parameter, weight in weights.items():
        assert int(weight.codes.max()) <= 7
        assert weight.scale.dtype == torch.float16
        held = tuned.get_submodule(parameter.removesuffix(".weight")).weight
        assert torch.equal(held.detach(), weight.dequantize())


def test_without_steps_nothing_changes_and_nothing_is_claimed(folder):
    _, _, receipts = quantized(folder, tuned_by(0))
    assert {one.block_error for one in receipts} == {None}
    assert {one.block_error_before for one in receipts} == {None}


def test_the_same_steps_give_the_same_codes(folder, tmp_path):
    _, first, _ = quantized(folder, tuned_by(20))
    _, second, _ = quantized(folder, tuned_by(20))
    assert all(torch.equal(first[name].codes, second[name].codes) for name in first)
    assert all(torch.equal(first[name].scale, second[name].scale) for name in first)


@pytest.mark.parametrize("symmetric", [True, False])
def test_bits_may_differ_between_layers_and_zero_points_stay(folder, symmetric):
    names = [name.removesuffix(".weight") for name in quantized(folder, tuned_by(0))[1]]
    bits_of = {name: (8, 4, 3, 2)[at % 4] for at, name in enumerate(names)}
    _, plain, _ = quantized(folder, tuned_by(0, bits_of=bits_of, symmetric=symmetric))
    _, tuned, _ = quantized(folder, tuned_by(10, bits_of=bits_of, symmetric=symmetric))
    first = [name for name in tuned if ".0." in name]
    assert first
    for name in first:  # later blocks see other inputs
        assert tuned[name].granularity == plain[name].granularity
        assert (tuned[name].zero_point is None) == symmetric
        if not symmetric:
            assert torch.equal(tuned[name].zero_point, plain[name].zero_point)


def test_the_start_is_what_the_quantizer_made(folder):
    torch.manual_seed(0)
    weight = torch.randn(8, 32)
    granularity = Granularity(2, 16)
    start = quantize(weight, choose_qparams(weight, granularity), granularity)
    moved = copy.deepcopy(start)
    moved.codes[0, 0] = (moved.codes[0, 0] + 1) % 4  # as error feedback does
    latent = Latent(moved, weight)
    assert torch.allclose(latent.weight(), moved.dequantize())
    assert torch.equal(latent.rounded().codes, moved.codes)
    assert torch.equal(latent.rounded().scale, moved.scale)
    latent.shift.data += 2 * NEAR + 0.2
    assert (latent.rounded().codes.int() - moved.codes.int()).clamp(0, 1).sum() > 0
    assert int(latent.rounded().codes.max()) <= 3


def test_names_within_a_block():
    assert local_name("model.layers.3.mlp.up_proj", 3) == "mlp.up_proj"
    assert local_name("bert.encoder.layer.0.attention.self.query", 0) == "attention.self.query"


def test_blocks_read_from_a_folder_are_tuned_alike(tmp_path):
    folder = write_llama(tmp_path / "model")
    _, whole, _ = quantized(folder, tuned_by(10))
    model = load(folder)
    model.save_pretrained(tmp_path / "saved")
    source = StreamedModel(tmp_path / "saved", torch.device("cpu"))
    _, streamed, _ = quantized(folder, tuned_by(10), source)
    assert all(torch.equal(whole[name].codes, streamed[name].codes) for name in whole)
