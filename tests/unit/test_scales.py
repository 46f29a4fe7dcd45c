"""Scales as multiples of their row's: exact in FP16, stored in few bits, chosen and refined on that grid."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqf import registry
from dqf.artifacts import MANIFEST, Packed, open_artifact, packed_tensors, save_quantized, write_manifest
from dqf.quant.calibration import LayerInputs
from dqf.quant.latent import Latent
from dqf.quant.qparams import Granularity, choose_qparams, quantize, search_qparams
from dqf.quant.refine import damped, refine
from dqf.quant.scales import SMALLEST, multiples, row_scales, storable

SCALE_BITS = (8, 4)


def made_of_multiples(one) -> bool:
    """Tell whether each scale is, exactly, a multiple from 1 to 2^scale_bits of its row's."""
    times = one.scale.double() / one.row_scale.double()
    return bool((times == times.round()).all() and times.min() >= 1 and times.max() <= 2**one.scale_bits)


def weight_and_inputs(rows=24, columns=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator) * torch.rand(rows, 1, generator=generator)
    mixed = torch.randn(columns, columns, generator=generator)
    return weight, torch.randn(256, columns, generator=generator) @ mixed


@given(
    scale_bits=st.sampled_from(SCALE_BITS),
    scales=st.lists(st.floats(1e-9, 1e5), min_size=1, max_size=6),
    cover=st.booleans(),
)
def test_every_multiple_is_an_fp16_number_and_near_what_was_wanted(scale_bits, scales, cover):
    wanted = torch.tensor([scales])
    unit = row_scales(wanted, scale_bits)
    kept = storable(wanted, unit, scale_bits, cover)
    times = multiples(kept, unit).double() + 1
    assert torch.equal(times * unit.double(), kept.double())
    assert kept.min() >= SMALLEST
    assert torch.isfinite(kept).all()
    inside = wanted.clamp(SMALLEST, 2.0**15).maximum(unit.float())
    off = (kept.double() - inside.double()) / unit.double()
    assert off.min() > (-0.002 if cover else -0.51)
    assert off.max() < (1.01 if cover else 0.51)


@pytest.mark.parametrize("scale_bits", SCALE_BITS)
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("symmetric", [False, True])
def test_chosen_scales_cover_the_weights(scale_bits, bits, symmetric):
    weight, _ = weight_and_inputs()
    granularity = Granularity(bits, 16, symmetric, scale_bits)
    kept = quantize(weight, choose_qparams(weight, granularity), granularity)
    assert made_of_multiples(kept)
    step = kept.scale.float().repeat_interleave(16, 1)
    slack = 1.05 if symmetric and bits == 2 else 0.55  # symmetric ranges end half a step short of the largest there
    assert ((weight - kept.dequantize()).abs() <= step * slack + 1e-6).float().mean() > (0.97 if symmetric else 0.999)


@pytest.mark.parametrize("scale_bits", SCALE_BITS)
@pytest.mark.parametrize("bits", [4, 3, 2])
def test_searched_multiples_cost_little(scale_bits, bits):
    weight, _ = weight_and_inputs(rows=64, columns=512)

    def error(granularity):
        return (quantize(weight, search_qparams(weight, granularity), granularity).dequantize() - weight).norm()

    free, bound = Granularity(bits, 32), Granularity(bits, 32, scale_bits=scale_bits)
    assert error(bound) < 1.02 * error(free)
    # The bits saved buy groups of half the size, which are worth more than what rounding the scales costs.
    if scale_bits == 4:
        assert error(Granularity(bits, 16, scale_bits=4)) < 0.97 * error(free)


@pytest.mark.parametrize("scale_bits", SCALE_BITS)
@pytest.mark.parametrize("method", ["rtn", "gptq", "awq", "hqq"])
@pytest.mark.parametrize("bits", [4, 2])
def test_quantizers_stay_on_the_grid_of_scales(scale_bits, method, bits):
    weight, inputs = weight_and_inputs()
    entry = registry.get("quantizer", method)
    kept, free = (
        entry.target(weight, Granularity(bits, 16, scale_bits=one), LayerInputs.of(inputs), entry.config())
        for one in (scale_bits, 16)
    )
    assert made_of_multiples(kept)
    assert free.row_scale is None

    def output_error(one):
        return (inputs @ (weight - one.dequantize()).T).norm()

    assert output_error(kept) < 1.15 * output_error(free)


def test_gptq_from_left_to_right_keeps_one_row_scale():
    weight, inputs = weight_and_inputs()
    entry = registry.get("quantizer", "gptq")
    for search in (False, True):
        options = entry.config(act_order=False, scale_search=search, refine_rounds=0)
        kept = entry.target(weight, Granularity(4, 16, scale_bits=4), LayerInputs.of(inputs), options)
        assert made_of_multiples(kept)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_refining_makes_no_row_worse(bits):
    weight, inputs = weight_and_inputs(rows=200)
    hessian = damped(inputs.T @ inputs, 0.01)
    entry = registry.get("quantizer", "gptq")
    granularity = Granularity(bits, 16, scale_bits=4)
    plain = entry.config(refine_rounds=0)
    start = entry.target(weight, granularity, LayerInputs.of(inputs), plain)  # so good that nearby scales are worse
    refined = refine(weight, start, hessian, 2)
    assert made_of_multiples(refined)

    def errors(one):
        difference = weight - one.dequantize()
        return ((difference @ hessian) * difference).sum(1)

    assert (errors(refined) <= errors(start) * 1.0001).all()
    assert errors(refined).sum() < errors(start).sum()


@pytest.mark.parametrize("scale_bits", SCALE_BITS)
def test_training_moves_the_scales_of_whole_rows(scale_bits):
    weight, _ = weight_and_inputs()
    granularity = Granularity(2, 16, scale_bits=scale_bits)
    latent = Latent(quantize(weight, choose_qparams(weight, granularity), granularity), weight)
    assert torch.allclose(latent.weight(), latent.start.dequantize())
    untouched = latent.rounded()
    assert torch.equal(untouched.scale, latent.start.scale)
    assert torch.equal(untouched.row_scale, latent.start.row_scale)
    latent.stretch.data += 0.3 * torch.randn_like(latent.stretch)
    rounded = latent.rounded()
    assert made_of_multiples(rounded)
    # What is trained is what is stored, but for the few digits of a row's scale.
    assert (latent.weight() - rounded.dequantize()).norm() < 0.01 * rounded.dequantize().norm()
    assert (latent.start.dequantize() - rounded.dequantize()).norm() > 0.02 * rounded.dequantize().norm()
    latent.weight().square().sum().backward()
    assert latent.stretch.grad.shape == (24, 1)
    assert latent.stretch.grad.abs().min() > 0


@pytest.mark.parametrize("scale_bits", [16, *SCALE_BITS])
@pytest.mark.parametrize("group_size", [0, 16])
def test_a_file_holds_few_bits_and_gives_the_same_scales(scale_bits, group_size, tmp_path):
    weight, _ = weight_and_inputs(rows=23)
    granularity = Granularity(4, group_size, scale_bits=scale_bits)
    one = quantize(weight, choose_qparams(weight, granularity), granularity)
    packed, stored = packed_tensors("layer.weight", one)
    assert sum(tensor.nbytes for tensor in stored.values()) == packed.size_bytes
    assert packed.scale_bits == (scale_bits if group_size else 16)
    assert Packed.from_dict(packed.to_dict()) == packed
    save_quantized(tmp_path, {}, {"layer.weight": one})
    write_manifest(tmp_path, {"quantized": {"layer.weight": packed.to_dict()}})
    artifact = open_artifact(tmp_path)
    assert np.array_equal(artifact.tensors()["layer.weight.scale"], one.scale.numpy())
    assert np.array_equal(artifact.dense()["layer.weight"], one.dequantize().numpy())
    assert artifact.scale_bits == (scale_bits if group_size else 16)


def test_files_from_before_are_read(tmp_path):
    weight, _ = weight_and_inputs()
    granularity = Granularity(4, 16)
    one = quantize(weight, choose_qparams(weight, granularity), granularity)
    packed = save_quantized(tmp_path, {}, {"layer.weight": one})["layer.weight"].to_dict()
    del packed["scale_bits"]
    write_manifest(tmp_path, {"quantized": {"layer.weight": packed}})
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "version": 1}))
    assert np.array_equal(open_artifact(tmp_path).dense()["layer.weight"], one.dequantize().numpy())
