"""HQQ: choose scales and zero points by a robust weight error, without calibration data.

Reference: Badri and Shaji (2023), "Half-Quadratic Quantization of Large Machine Learning Models",
equations 3 to 6: argmin over the zero point of ||W - Q(W)||_p, p < 1, solved by alternating a
shrinkage step on the error and a closed form for the zero point.
Deviations: zero points end as whole numbers, because that is what the packed file stores; to make up
for it the scale has its closed form too, and the best of all rounds is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqf.fields import setting
from dqf.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.calibration import LayerInputs
    from dqf.quant.qparams import Granularity, QuantizedWeight


@dataclass(frozen=True)
class HQQConfig:
    """Settings of HQQ."""

    norm: float = setting(
        0.7,
        "Norm",
        "Exponent p of the error that is minimized; below 1 it forgives outliers.",
        minimum=0.1,
        maximum=1.0,
        flag="--hqq-norm",
        advanced=True,
    )
    rounds: int = setting(
        20, "Rounds", "Most alternations of the solver.", minimum=1, maximum=500, flag="--hqq-rounds", advanced=True
    )


@register(
    "quantizer",
    "hqq",
    title="HQQ",
    config=HQQConfig,
    summary="Finds scales and zero points by half-quadratic optimization; needs no calibration data.",
    needs_calibration=False,
)
def quantize_weight(
    weight: Tensor, granularity: Granularity, inputs: LayerInputs | None, config: HQQConfig
) -> QuantizedWeight:
    """Quantize a weight by HQQ.

    Args:
        weight: float (rows, columns).
        granularity: bits, group size and symmetry.
        inputs: not used.
        config: norm and rounds.

    Returns:
        The quantized weight.
    """
    import torch

    from dqf.quant.qparams import QParams, choose_qparams, quantize, round_to_codes
    from dqf.quant.scales import LARGEST, SMALLEST, storable

    rows, columns = weight.shape
    groups = weight.float().reshape(rows, -1, granularity.width(columns))
    start = choose_qparams(weight, granularity)
    scale, zero = start.scale.float().unsqueeze(-1), start.zero_point.float().unsqueeze(-1)

    def stored(s: Tensor) -> Tensor:
        return storable(s.squeeze(-1), start.row_scale, granularity.scale_bits)

    def error_of(s: Tensor, z: Tensor) -> Tensor:
        s, z = stored(s).float().unsqueeze(-1), z.round().clamp(0, granularity.levels)
        value = (round_to_codes(groups, s, z, granularity.levels) - z) * s
        return (groups - value).abs().pow(config.norm).sum(-1, keepdim=True)

    least = error_of(scale, zero)
    kept_scale, kept_zero = scale.clone(), zero.clone()
    # The shrinkage works on errors relative to the step, so that one beta serves every layer.
    beta = 1.0
    for _ in range(config.rounds):
        codes = torch.clamp(torch.round(groups / scale + zero), 0, granularity.levels)
        value = (codes - zero) * scale
        relative = (groups - value) / scale
        shrunk = _shrink(relative, beta, config.norm) * scale
        target = groups - shrunk
        if granularity.symmetric:
            pattern = codes - granularity.middle
        else:
            zero = (codes - target / scale).mean(-1, keepdim=True).clamp(0, granularity.levels)
            pattern = codes - zero
        better_scale = (target * pattern).sum(-1, keepdim=True) / pattern.square().sum(-1, keepdim=True).clamp(min=1e-8)
        usable = (better_scale > 0.3 * scale) & (better_scale < 3 * scale)
        scale = torch.where(usable, better_scale, scale).clamp(SMALLEST, LARGEST)
        beta *= 1.05
        error = error_of(scale, zero)
        better = error < least
        least = torch.where(better, error, least)
        kept_scale, kept_zero = torch.where(better, scale, kept_scale), torch.where(better, zero, kept_zero)
    kept_zero = kept_zero.round().clamp(0, granularity.levels).squeeze(-1)
    return quantize(weight, QParams(stored(kept_scale), kept_zero.to(torch.uint8), start.row_scale), granularity)


def _shrink(x: Tensor, beta: float, p: float) -> Tensor:
    """Return the generalized soft threshold of the l_p norm, element by element (the paper's equation 5)."""
    import torch

    return torch.sign(x) * torch.relu(x.abs() - x.abs().clamp(min=1e-8).pow(p - 1) / beta)
