"""GPTQ: quantize column by column and let the columns still to come make up for the error.

Reference: Frantar et al. (2023), "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", algorithm 1.
Deviations: scales are chosen by least weighted error rather than from the extremes
(`scale_search`); afterwards scales and codes are improved in turn on the same objective
(`refine_rounds`, see `dqf.quant.refine`). With both off this is the algorithm as published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqf.errors import UserError
from dqf.fields import setting
from dqf.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.calibration import LayerInputs
    from dqf.quant.qparams import Granularity, QuantizedWeight

BLOCK = 128
"""Columns whose updates to later columns are applied together; changes the speed only."""


@dataclass(frozen=True)
class GPTQConfig:
    """Settings of GPTQ."""

    damping: float = setting(
        0.01,
        "Damping",
        "Share of the Hessian's mean diagonal added to its diagonal.",
        minimum=1e-6,
        maximum=1.0,
        flag="--damping",
        advanced=True,
    )
    act_order: bool = setting(
        True,
        "Activation order",
        "Quantize the columns with the largest inputs first, with scales chosen beforehand.",
        flag="--act-order",
        advanced=True,
    )
    scale_search: bool = setting(
        True,
        "Search scales",
        "Clip each group's range where that lowers its weighted error.",
        flag="--scale-search",
        advanced=True,
    )
    refine_rounds: int = setting(
        2,
        "Refinement rounds",
        "How often scales and codes are improved in turn afterwards; 0 is GPTQ as published.",
        minimum=0,
        maximum=20,
        flag="--refine-rounds",
        advanced=True,
    )


@register(
    "quantizer",
    "gptq",
    title="GPTQ",
    config=GPTQConfig,
    summary="Second-order quantization from calibration data; later columns correct earlier ones' error.",
    needs_calibration=True,
)
def quantize_weight(
    weight: Tensor, granularity: Granularity, inputs: LayerInputs | None, config: GPTQConfig
) -> QuantizedWeight:
    """Quantize a weight by GPTQ.

    Args:
        weight: float (rows, columns).
        granularity: bits, group size and symmetry.
        inputs: statistics of the layer's calibration inputs.
        config: damping, order, scale search, refinement.

    Returns:
        The quantized weight.

    Raises:
        UserError: there are no inputs, or the weight is not finite.
    """
    from dqf.quant.refine import damped, refine

    if inputs is None:
        raise UserError("GPTQ needs calibration inputs for every layer: got none; give it calibration samples.")
    hessian = damped(inputs.hessian, config.damping)
    quantized = feed_errors_back(weight, granularity, hessian, config.act_order, config.scale_search)
    return refine(weight, quantized, hessian, config.refine_rounds) if config.refine_rounds else quantized


def feed_errors_back(
    weight: Tensor, granularity: Granularity, hessian: Tensor, act_order: bool, scale_search: bool
) -> QuantizedWeight:
    """Quantize column by column, each column's error spread over the columns still to come.

    Args:
        weight: float (rows, columns).
        granularity: bits, group size and symmetry.
        hessian: float32 (columns, columns), damped.
        act_order: columns in falling order of the Hessian's diagonal, scales of all groups chosen
            beforehand; else from left to right, a group's scales chosen when its first column is reached.
        scale_search: choose scales by least weighted error instead of from the extremes.
    """
    import torch

    from dqf.quant.qparams import QuantizedWeight, choose_qparams, search_qparams

    rows, columns = weight.shape
    width = granularity.width(columns)
    importance = hessian.diagonal()

    def qparams(part: Tensor, start: int) -> tuple[Tensor, Tensor]:
        if scale_search:
            return search_qparams(part, granularity, importance[start : start + part.shape[1]])
        return choose_qparams(part, granularity)

    scale, zero_point = qparams(weight.float(), 0)
    order = torch.arange(columns, device=weight.device)
    if act_order:
        order = torch.argsort(importance, descending=True, stable=True)
        hessian = hessian[order][:, order]
    factor = _inverse_factor(hessian)
    # Columns become rows: each step then works on one contiguous stretch of memory.
    left = weight.float().T[order].contiguous()
    codes = torch.empty(columns, rows, device=weight.device)
    s, z = scale.float().T.contiguous(), zero_point.float().T.contiguous()
    group_of = (order // width).tolist()
    diagonal = factor.diagonal().tolist()
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        errors = torch.zeros(end - start, rows, device=weight.device)
        local = left[start:end]
        inside = factor[start:end, start:end].contiguous()
        for i in range(end - start):
            j = start + i
            g = group_of[j]
            if not act_order and j % width == 0:
                group = _up_to_date(left, errors, factor, start, j, end, width)
                new_scale, new_zero = qparams(group.T, j)
                scale[:, g], zero_point[:, g] = new_scale[:, 0], new_zero[:, 0]
                s[g], z[g] = new_scale[:, 0].float(), new_zero[:, 0].float()
            code = torch.div(local[i], s[g]).round_().add_(z[g]).clamp_(0, granularity.levels)
            codes[j] = code
            torch.sub(local[i], code.sub_(z[g]).mul_(s[g]), out=errors[i])
            errors[i] /= diagonal[j]
            if i + 1 < end - start:
                local[i + 1 :].addr_(inside[i, i + 1 :], errors[i], alpha=-1)
        if end < columns:
            left[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    unordered = torch.empty_like(codes)
    unordered[order] = codes
    stored = None if granularity.symmetric else zero_point
    return QuantizedWeight(unordered.T.contiguous().to(torch.uint8), scale, stored, granularity)


def _up_to_date(left: Tensor, errors: Tensor, factor: Tensor, start: int, j: int, end: int, width: int) -> Tensor:
    """Return the columns of the group that begins at j, those beyond the block corrected too."""
    group = left[j : j + width].clone()
    beyond = j + width - end
    if beyond > 0 and j > start:
        group[-beyond:] -= factor[start:j, end : j + width].T @ errors[: j - start]
    return group


def _inverse_factor(hessian: Tensor) -> Tensor:
    """Return the upper Cholesky factor of the Hessian's inverse, damping more if it must."""
    import torch

    hessian = hessian.clone()
    extra = 0.01 * hessian.diagonal().mean()
    for _ in range(6):
        lower, failed = torch.linalg.cholesky_ex(hessian)
        if not failed:
            return torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)
        hessian.diagonal().add_(extra)
        extra *= 10
    raise UserError("GPTQ's Hessian must be positive definite: it is not even when damped; raise `damping`.")
