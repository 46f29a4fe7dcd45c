"""MSE rounding: round to the nearest level of scales that are clipped to the least squared error of each group.

Reference: Nagel et al. (2021), "A White Paper on Neural Network Quantization", section 3.1.1 (MSE-based ranges).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dqf.registry import NoOptions, register

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.calibration import LayerInputs
    from dqf.quant.qparams import Granularity, QuantizedWeight

CHUNK = 512
"""Rows searched at a time: what they take stays in the processor's cache."""


@register(
    "quantizer",
    "mse",
    title="MSE rounding",
    summary="Rounds to the nearest level of scales with the least squared error; needs no calibration data.",
    needs_calibration=False,
)
def quantize_weight(
    weight: Tensor, granularity: Granularity, inputs: LayerInputs | None, config: NoOptions
) -> QuantizedWeight:
    """Quantize a weight with searched scales.

    Args:
        weight: float (rows, columns).
        granularity: bits, group size and symmetry.
        inputs: not used.
        config: not used.

    Returns:
        The quantized weight.
    """
    import torch

    from dqf.quant.qparams import QParams, quantize, search_qparams

    found = [search_qparams(rows, granularity) for rows in weight.split(CHUNK)]
    row_scales = [one.row_scale for one in found if one.row_scale is not None]
    qparams = QParams(
        torch.cat([one.scale for one in found]),
        torch.cat([one.zero_point for one in found]),
        torch.cat(row_scales) if row_scales else None,
    )
    return quantize(weight, qparams, granularity)
