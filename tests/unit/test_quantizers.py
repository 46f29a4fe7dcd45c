import numpy as np
import pytest
import torch

from dqf import registry
from dqf.errors import UserError
from dqf.quant.qparams import Granularity, check_group_size, choose_qparams, quantize


def weight_and_hessian(rows=24, columns=48, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator)
    inputs = torch.randn(400, columns, generator=generator) @ mix
    return torch.randn(rows, columns, generator=generator), inputs.T @ inputs


def output_error(weight, quantized, hessian):
    difference = weight - quantized.dequantize()
    return float((difference @ hessian * difference).sum())


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group_size", [0, 8, 16])
def test_rounding_stays_within_half_a_step(bits, symmetric, group_size):
    weight, _ = weight_and_hessian()
    granularity = Granularity(bits, group_size, symmetric)
    scale, zero_point = choose_qparams(weight, granularity)
    quantized = quantize(weight, scale, zero_point, granularity)
    step = scale.float().repeat_interleave(granularity.width(48), 1)
    # Symmetric ranges end half a step short of the largest weight at 2 bits; FP16 scales add a little.
    slack = 1.05 if symmetric and bits == 2 else 0.55
    inside = (weight - quantized.dequantize()).abs() <= step * slack + 1e-6
    if not symmetric:
        assert inside.all()
    assert inside.float().mean() > 0.97
    assert int(quantized.codes.max()) <= granularity.levels


def test_constant_and_zero_groups_survive():
    weight = torch.cat([torch.zeros(2, 8), torch.full((2, 8), 0.5), torch.full((2, 8), -3.0)])
    granularity = Granularity(4, 8)
    quantized = quantize(weight, *choose_qparams(weight, granularity), granularity)
    assert torch.allclose(quantized.dequantize(), weight, atol=2e-3)


def test_nan_is_refused():
    with pytest.raises(UserError, match="finite"):
        choose_qparams(torch.tensor([[float("nan"), 1.0]]), Granularity(4))


def test_group_size_suggests_what_fits():
    assert check_group_size(576, 64) == ""
    message = check_group_size(770, 128)
    assert "770 and 128" in message
    assert "110" in message


def dense_gptq(weight, hessian, bits, group_size, damping):
    """GPTQ without blocks or a Cholesky factor: the optimal brain surgeon update, column by column."""
    left = weight.double().clone()
    h = hessian.double().clone()
    h.diagonal().add_(damping * h.diagonal().mean())
    inverse = torch.linalg.inv(h)
    result = torch.zeros_like(left)
    for column in range(left.shape[1]):
        if column % group_size == 0:
            group = left[:, column : column + group_size].float()
            scale, zero = choose_qparams(group, Granularity(bits, group_size))
        s, z = scale.double(), zero.double()
        code = torch.clamp(torch.round(left[:, column : column + 1] / s) + z, 0, 2**bits - 1)
        value = ((code - z) * s)[:, 0]
        result[:, column] = value
        error = (left[:, column] - value) / inverse[column, column]
        left -= torch.outer(error, inverse[column])
        inverse = inverse - torch.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    return result.float()


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("block_size", [1, 5, 16, 128])
def test_gptq_equals_a_dense_reference(bits, block_size):
    weight, hessian = weight_and_hessian()
    entry = registry.get("quantizer", "gptq")
    quantized = entry.target(weight, Granularity(bits, 16), hessian, entry.config(0.01, block_size))
    expected = dense_gptq(weight, hessian, bits, 16, 0.01)
    same = (quantized.dequantize() - expected).abs() < 1e-3
    assert same.float().mean() > 0.99  # a rounding tie may fall either way


@pytest.mark.parametrize("bits", [4, 3, 2])
@pytest.mark.parametrize("symmetric", [False, True])
def test_gptq_beats_rounding_on_the_output(bits, symmetric):
    weight, hessian = weight_and_hessian(rows=64)
    granularity = Granularity(bits, 16, symmetric)
    gptq, rtn = registry.get("quantizer", "gptq"), registry.get("quantizer", "rtn")
    better = output_error(weight, gptq.target(weight, granularity, hessian, gptq.config()), hessian)
    plain = output_error(weight, rtn.target(weight, granularity, None, rtn.config()), hessian)
    assert better < 0.8 * plain


def test_gptq_leaves_inputs_that_never_occur_alone():
    weight, hessian = weight_and_hessian()
    hessian[3], hessian[:, 3] = 0, 0
    entry = registry.get("quantizer", "gptq")
    quantized = entry.target(weight, Granularity(4, 16), hessian, entry.config())
    assert np.isfinite(quantized.dequantize().numpy()).all()


def test_gptq_without_calibration_says_so():
    entry = registry.get("quantizer", "gptq")
    with pytest.raises(UserError, match="calibration"):
        entry.target(torch.zeros(2, 8), Granularity(4, 8), None, entry.config())
