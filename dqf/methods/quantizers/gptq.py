"""GPTQ: quantize column by column and let the columns still to come make up for the error.

Reference: Frantar et al. (2023), "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", algorithm 1.
Deviation: scales of a group are chosen when its first column is reached, from weights that earlier
columns have already corrected, as in the authors' own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqf.errors import UserError
from dqf.fields import setting
from dqf.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.qparams import Granularity, QuantizedWeight


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
    block_size: int = setting(
        128,
        "Block size",
        "Columns whose updates to later columns are applied together.",
        minimum=1,
        maximum=4096,
        flag="--block-size",
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
    weight: Tensor, granularity: Granularity, hessian: Tensor | None, config: GPTQConfig
) -> QuantizedWeight:
    """Quantize a weight by GPTQ.

    Args:
        weight: float (rows, columns).
        granularity: bits, group size and symmetry.
        hessian: float32 (columns, columns), sum of x x^T over calibration inputs x.
        config: damping and block size.

    Returns:
        The quantized weight.

    Raises:
        UserError: there is no Hessian, or the weight is not finite.
    """
    import torch

    from dqf.quant.qparams import QuantizedWeight, choose_qparams, round_to_codes

    if hessian is None:
        raise UserError("GPTQ needs calibration inputs for every layer: got none; give it calibration samples.")
    left = weight.detach().float().clone()
    rows, columns = left.shape
    width = granularity.width(columns)
    dead = hessian.diagonal() == 0
    left[:, dead] = 0.0
    factor = _inverse_cholesky(hessian, dead, config.damping)
    codes = torch.empty(rows, columns, dtype=torch.uint8, device=left.device)
    scales, zero_points = [], []
    for start in range(0, columns, config.block_size):
        end = min(start + config.block_size, columns)
        errors = torch.zeros(rows, end - start, device=left.device)
        for column in range(start, end):
            if column % width == 0:
                # A block may end inside this group: bring its later columns up to date for the choice only.
                group = left[:, column : column + width].clone()
                beyond = column + width - end
                if beyond > 0 and column > start:
                    done = slice(0, column - start)
                    group[:, -beyond:] -= errors[:, done] @ factor[start:column, end : column + width]
                scale, zero_point = choose_qparams(group, granularity)
                scales.append(scale)
                zero_points.append(zero_point)
            s, z = scales[-1].float(), zero_points[-1].float()
            now = left[:, column : column + 1]
            code = round_to_codes(now, s, z, granularity.levels)
            codes[:, column] = code[:, 0].to(torch.uint8)
            error = (now - (code - z) * s) / factor[column, column]
            left[:, column:end] -= error @ factor[column : column + 1, column:end]
            errors[:, column - start] = error[:, 0]
        left[:, end:] -= errors @ factor[start:end, end:]
    stored = None if granularity.symmetric else torch.cat(zero_points, 1)
    return QuantizedWeight(codes, torch.cat(scales, 1), stored, granularity)


def _inverse_cholesky(hessian: Tensor, dead: Tensor, damping: float) -> Tensor:
    """Return the upper Cholesky factor of the damped Hessian's inverse, damping more if it must."""
    import torch

    damped = hessian.float().clone()
    damped.diagonal()[dead] = 1.0
    mean = damped.diagonal().mean()
    for _ in range(6):
        damped.diagonal().add_(damping * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            return torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)
        damping *= 10
    raise UserError("GPTQ's Hessian must be positive definite: it is not even when damped; raise `damping`.")
