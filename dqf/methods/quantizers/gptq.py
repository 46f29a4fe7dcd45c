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

BLOCK = 64
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
        1,
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
    from dqf.quant.refine import damped

    if inputs is None:
        raise UserError("GPTQ needs calibration inputs for every layer: got none; give it calibration samples.")
    hessian = damped(inputs.hessian, config.damping)
    return quantize_by_feedback(
        weight, granularity, hessian, config.act_order, config.scale_search, config.refine_rounds
    )


def quantize_by_feedback(
    weight: Tensor, granularity: Granularity, hessian: Tensor, act_order: bool, scale_search: bool, refine_rounds: int
) -> QuantizedWeight:
    """Quantize by error feedback, then refine.

    Args:
        weight: float (rows, columns).
        granularity: bits, group size and symmetry.
        hessian: float32 (columns, columns), damped.
        act_order: see `feed_errors_back`.
        scale_search: see `feed_errors_back`.
        refine_rounds: see `dqf.quant.refine.refine`.
    """
    import torch

    from dqf.quant.refine import refine

    importance = hessian.diagonal()
    order = torch.arange(len(hessian), device=weight.device)
    if act_order:
        order = torch.argsort(importance, descending=True, stable=True)
    factor = _inverse_factor(hessian[order][:, order] if act_order else hessian)
    start = feed_errors_back(weight, granularity, importance, factor, order if act_order else None, scale_search)
    return refine(weight, start, hessian, refine_rounds) if refine_rounds else start


def feed_errors_back(
    weight: Tensor,
    granularity: Granularity,
    importance: Tensor,
    factor: Tensor,
    order: Tensor | None,
    scale_search: bool,
) -> QuantizedWeight:
    """Quantize column by column, each column's error spread over the columns still to come.

    Args:
        weight: float (rows, columns).
        granularity: bits, group size and symmetry.
        importance: float32 (columns,), the Hessian's diagonal.
        factor: float32 (columns, columns), upper Cholesky factor of the Hessian's inverse, in that order.
        order: int64 (columns,), the order columns are quantized in, scales of all groups chosen
            beforehand; None for left to right, a group's scales chosen when its first column is reached.
        scale_search: choose scales by least weighted error instead of from the extremes.
    """
    import torch

    from dqf.quant.qparams import QParams, choose_qparams, quantized, search_qparams

    rows, columns = weight.shape
    width = granularity.width(columns)

    def qparams(part: Tensor, start: int, row_scale: Tensor | None = None) -> QParams:
        if scale_search:
            return search_qparams(part, granularity, importance[start : start + part.shape[1]], row_scale)
        return choose_qparams(part, granularity, row_scale)

    chosen = qparams(weight.float(), 0)
    scale, zero_point, row_scale = chosen
    left_to_right = order is None
    if order is None:
        order = torch.arange(columns, device=weight.device)
    # Columns become rows: each step then works on one contiguous stretch of memory. Steps are few
    # microseconds long, so what can be prepared for all columns at once is.
    left = weight.float().T[order].contiguous()
    codes = torch.empty(columns, rows, device=weight.device)
    levels = granularity.levels
    group_of = (order // width).tolist()
    steps = _Steps.of(scale, zero_point)
    # Errors stay undivided by the factor's diagonal: its rows are divided instead.
    factor = factor / factor.diagonal().unsqueeze(1)
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        errors = torch.zeros(end - start, rows, device=weight.device)
        before = errors.T
        inside = factor[start:end, start:end].T.contiguous()
        into = zip(left[start:end].unbind(), codes[start:end].unbind(), errors.unbind(), strict=True)
        for i, (column, code, error) in enumerate(into):
            j = start + i
            g = group_of[j]
            if left_to_right and j % width == 0:
                group = _up_to_date(left, errors, factor, start, j, end, width)
                new = qparams(group.T, j, row_scale)
                scale[:, g], zero_point[:, g] = new.scale[:, 0], new.zero_point[:, 0]
                steps.put(g, new.scale[:, 0], new.zero_point[:, 0])
            now = torch.addmv(column, before[:, :i], inside[i, :i], alpha=-1) if i else column
            torch.addcmul(steps.zero_point[g], now, steps.inverse[g], out=code).round_().clamp_(0, levels)
            torch.sub(now, torch.addcmul(steps.offset[g], code, steps.scale[g]), out=error)
        if end < columns:
            left[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    unordered = torch.empty_like(codes)
    unordered[order] = codes
    return quantized(unordered.T.contiguous(), chosen, granularity)


@dataclass
class _Steps:
    """Scales and zero points by group, each a list of float32 (rows,): value = offset + scale * code."""

    scale: list[Tensor]
    zero_point: list[Tensor]
    inverse: list[Tensor]
    offset: list[Tensor]

    @classmethod
    def of(cls, scale: Tensor, zero_point: Tensor) -> _Steps:
        """Prepare float16 (rows, groups) scales and uint8 zero points."""
        s, z = scale.float().T.contiguous(), zero_point.float().T.contiguous()
        return cls(list(s), list(z), list(1 / s), list(-z * s))

    def put(self, group: int, scale: Tensor, zero_point: Tensor) -> None:
        """Replace one group's, (rows,) each."""
        one = _Steps.of(scale.unsqueeze(1), zero_point.unsqueeze(1))
        self.scale[group], self.zero_point[group] = one.scale[0], one.zero_point[0]
        self.inverse[group], self.offset[group] = one.inverse[0], one.offset[0]


def _up_to_date(left: Tensor, errors: Tensor, factor: Tensor, start: int, j: int, end: int, width: int) -> Tensor:
    """Return the columns of the group that begins at j, corrected for the errors of the block so far."""
    group = left[j : j + width].clone()
    if j > start:
        group -= factor[start:j, j : j + width].T @ errors[: j - start]
    return group


def _inverse_factor(hessian: Tensor) -> Tensor:
    """Return the upper Cholesky factor U of the Hessian's inverse (U^T U), damping more if it must.

    With rows and columns in reverse the lower factor of H becomes an upper one, H = R R^T, and U is the
    inverse of R: one factorization and one triangular inverse instead of two factorizations and an inverse.
    """
    import torch

    hessian = hessian.flip(0, 1)
    extra = 0.01 * hessian.diagonal().mean()
    for _ in range(6):
        lower, failed = torch.linalg.cholesky_ex(hessian)
        if not failed:
            identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
            return torch.linalg.solve_triangular(lower, identity, upper=False).flip(0, 1).contiguous()
        hessian.diagonal().add_(extra)
        extra *= 10
    raise UserError("GPTQ's Hessian must be positive definite: it is not even when damped; raise `damping`.")
