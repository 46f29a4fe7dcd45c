"""Make given codes and scales better: coordinate descent on the codes, least squares on the scales.

Both lower the layer's output error tr((W - Q) H (W - Q)^T), H the sum of x x^T over the calibration
inputs x, and neither can raise it but for rounding the scales; where scales are multiples of their row's, which is
coarse, rows that came out worse stay as they were.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dqf.quant.products import rounded_product
from dqf.quant.qparams import QuantizedWeight
from dqf.quant.scales import storable

BLOCK = 64


def damped(hessian: Tensor, damping: float) -> Tensor:
    """Return a Hessian with `damping` times its mean diagonal added to its diagonal, float32.

    Inputs that never occurred get a diagonal of one mean, so that their weights are rounded to nearest.
    """
    result = hessian.float().clone()
    diagonal = result.diagonal()
    mean = diagonal.mean().clamp(min=1e-20)
    diagonal[diagonal == 0] = mean
    diagonal.add_(damping * mean)
    return result


def refine(weight: Tensor, start: QuantizedWeight, hessian: Tensor, rounds: int) -> QuantizedWeight:
    """Return a quantized weight with less output error.

    Args:
        weight: float (rows, columns) that the codes stand for; without the start's `input_scale`.
        start: codes, scales and zero points to improve.
        hessian: float32 (columns, columns), damped, of the inputs these codes meet.
        rounds: how often scales and codes are improved in turn.

    Returns:
        The same with other codes and scales.

    Reference:
        Behdin et al. (2023), "QuantEase: Optimization-based Quantization for Language Models",
        algorithm 1, for the descent on codes.
    """
    weight = weight.float()
    codes, scale = start.codes.float(), start.scale
    granularity = start.granularity
    zero_point = (
        torch.full_like(scale, granularity.middle, dtype=torch.float32)
        if start.zero_point is None
        else start.zero_point.float()
    )
    for _ in range(rounds):
        solved = least_squares_scale(weight, codes, zero_point, scale, hessian)
        scale = storable(solved, start.row_scale, granularity.scale_bits)
        codes = descend(weight, codes, scale.float(), zero_point, hessian, granularity.levels)
    refined = replace(start, codes=codes.to(torch.uint8), scale=scale)
    return refined if start.row_scale is None else _better_rows(weight, start, refined, hessian)


def _better_rows(weight: Tensor, first: QuantizedWeight, second: QuantizedWeight, hessian: Tensor) -> QuantizedWeight:
    """Return each row from whichever of two quantized weights of the same zero points has less output error there."""

    def errors(one: QuantizedWeight) -> Tensor:
        difference = weight - replace(one, input_scale=None).dequantize()
        return ((difference @ hessian) * difference).sum(1, keepdim=True)

    better = errors(second) < errors(first)
    codes, scale = (torch.where(better, b, a) for a, b in ((first.codes, second.codes), (first.scale, second.scale)))
    return replace(first, codes=codes, scale=scale)


def least_squares_scale(weight: Tensor, codes: Tensor, zero_point: Tensor, scale: Tensor, hessian: Tensor) -> Tensor:
    """Return the scales with least output error for given codes, float32 (rows, groups).

    For one row with group patterns d_g (codes minus zero point in group g, zero elsewhere) the scales
    solve (D H D^T) s = D H w.

    Args:
        weight: float32 (rows, columns).
        codes: float32 (rows, columns).
        zero_point: float32 (rows, groups).
        scale: float16 (rows, groups), kept where the solution is not usable.
        hessian: float32 (columns, columns).
    """
    rows, columns = codes.shape
    groups = scale.shape[1]
    width = columns // groups
    shifted = codes.view(rows, groups, width) - zero_point.unsqueeze(-1)
    products = torch.empty(rows, groups, groups, device=codes.device)
    for g in range(groups):
        # Row by row: what the pattern of group g gives at every later input, projected on the later patterns.
        there = shifted[:, g] @ hessian[g * width : (g + 1) * width, g * width :]
        projected = torch.linalg.vecdot(there.view(rows, groups - g, width), shifted[:, g:])
        products[:, g, g:] = projected
        products[:, g:, g] = projected
    wanted = ((weight @ hessian).view(rows, groups, width) * shifted).sum(-1)
    diagonal = products.diagonal(dim1=1, dim2=2)
    diagonal.add_(1e-6 * diagonal.mean(1, keepdim=True) + 1e-20)
    lower, failed = torch.linalg.cholesky_ex(products)
    solved = torch.cholesky_solve(wanted.unsqueeze(-1), lower).squeeze(-1)
    old = scale.float()
    usable = torch.isfinite(solved) & (solved > 0.25 * old) & (solved < 4 * old) & (failed == 0).unsqueeze(-1)
    # All of a row or nothing: one group's solution counts on the others'.
    usable = usable.all(1, keepdim=True)
    return torch.where(usable, solved, old)


def descend(weight: Tensor, codes: Tensor, scale: Tensor, zero_point: Tensor, hessian: Tensor, levels: int) -> Tensor:
    """Return codes after one sweep over all columns, each set to its best value given the others.

    Args:
        weight: float32 (rows, columns).
        codes: float32 (rows, columns).
        scale: float32 (rows, groups).
        zero_point: float32 (rows, groups).
        hessian: float32 (columns, columns), positive diagonal.
        levels: highest code.

    Returns:
        float32 (rows, columns) codes.
    """
    rows, columns = codes.shape
    width = columns // scale.shape[1]
    # Columns become rows: each step then works on one contiguous stretch of memory. A column's value moves
    # in whole steps, so its best code is the present one plus the pull in steps, rounded.
    codes = codes.T.contiguous()
    better = torch.empty_like(codes)
    steps, zeros = scale.T.contiguous(), zero_point.T.contiguous()
    value = ((codes.view(-1, width, rows) - zeros.unsqueeze(1)) * steps.unsqueeze(1)).view(columns, rows)
    pull = rounded_product(hessian, weight.T - value)  # column j: what the remaining error asks of column j, times H_jj
    inverses = list(1 / steps)
    step = list(steps)
    shares = (1 / hessian.diagonal()).tolist()
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        inside = hessian[start:end, start:end].contiguous()
        moved = torch.zeros(end - start, rows, device=codes.device)
        before = moved.T
        into = zip(
            pull[start:end].unbind(),
            codes[start:end].unbind(),
            better[start:end].unbind(),
            moved.unbind(),
            strict=True,
        )
        for i, (wanted, code, best, move) in enumerate(into):
            g = (start + i) // width
            now = torch.addmv(wanted, before[:, :i], inside[i, :i], alpha=-1) if i else wanted
            torch.addcmul(code, now, inverses[g], value=shares[start + i], out=best).round_().clamp_(0, levels)
            torch.sub(best, code, out=move).mul_(step[g])
        if end < columns:
            pull[end:].addmm_(hessian[end:, start:end], moved, alpha=-1)
    return better.T.contiguous()
