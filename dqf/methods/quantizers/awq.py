"""AWQ: scale up the weights that meet large inputs before rounding, and the inputs down by the same.

Reference: Lin et al. (2024), "AWQ: Activation-aware Weight Quantization for On-Device LLM
Compression and Acceleration", equations 4 and 5.
Deviations: the search minimizes the layers' exact output error over all calibration inputs (through
their second moments) instead of a sample's; a column's input is measured by its root mean square;
scales stay with the layer, so any `nn.Linear` can have them, whatever stands before it; with
`rounding` = feedback the scaled weights are rounded with error feedback instead of to nearest.
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


@dataclass(frozen=True)
class AWQConfig:
    """Settings of AWQ."""

    grid: int = setting(
        20,
        "Scale candidates",
        "Exponents between 0 and 1 tried for the scales.",
        minimum=1,
        maximum=200,
        flag="--awq-grid",
        advanced=True,
    )
    clip: bool = setting(
        True, "Clip", "Clip each group's range where that lowers its weighted error.", flag="--clip", advanced=True
    )
    rounding: str = setting(
        "feedback",
        "Rounding",
        "nearest is AWQ as published; feedback rounds the scaled weights column by column with error feedback.",
        choices=("feedback", "nearest"),
        flag="--awq-rounding",
        advanced=True,
    )


@register(
    "quantizer",
    "awq",
    title="AWQ",
    config=AWQConfig,
    summary="Protects the weights that meet large inputs by scaling them up before rounding.",
    needs_calibration=True,
    scales_inputs=True,
)
def quantize_weight(
    weight: Tensor, granularity: Granularity, inputs: LayerInputs | None, config: AWQConfig
) -> QuantizedWeight:
    """Quantize a weight by AWQ.

    Args:
        weight: float (rows, columns).
        granularity: bits, group size and symmetry.
        inputs: statistics of the layer's calibration inputs.
        config: search, clipping, rounding.

    Returns:
        The quantized weight, with an `input_scale`.

    Raises:
        UserError: there are no inputs, or the weight is not finite.
    """
    import dataclasses

    from dqf.methods.quantizers.gptq import quantize_by_feedback
    from dqf.quant.qparams import choose_qparams, quantize, search_qparams
    from dqf.quant.refine import damped

    if inputs is None:
        raise UserError("AWQ needs calibration inputs for every layer: got none; give it calibration samples.")
    weight = weight.float()
    input_scale = search_input_scale(weight, granularity, inputs, config.grid)
    scaled = weight * input_scale
    # The inputs that the codes will meet are divided by the scale, and so are their second moments.
    hessian = damped(inputs.hessian / input_scale / input_scale.unsqueeze(1), 0.01)
    if config.rounding == "feedback":
        quantized = quantize_by_feedback(
            scaled, granularity, hessian, act_order=True, scale_search=config.clip, refine_rounds=1
        )
    else:
        importance = hessian.diagonal()
        qparams = (
            search_qparams(scaled, granularity, importance) if config.clip else choose_qparams(scaled, granularity)
        )
        quantized = quantize(scaled, qparams, granularity)
    return dataclasses.replace(quantized, input_scale=input_scale.half())


def search_input_scale(weight: Tensor, granularity: Granularity, inputs: LayerInputs, grid: int) -> Tensor:
    """Return the scales s = rms(x)^alpha whose rounding has the least output error.

    Args:
        weight: float32 (rows, columns).
        granularity: bits, group size and symmetry.
        inputs: statistics of the inputs.
        grid: how many alpha between 0 and 1 are tried.

    Returns:
        float32 (columns,), exactly representable in FP16.
    """
    import torch

    from dqf.quant.qparams import choose_qparams, quantize

    size = inputs.power.sqrt().clamp(min=1e-4)
    hessian = inputs.hessian
    best, least = torch.ones_like(size), float("inf")
    for step in range(grid):
        scale = size ** (step / grid)
        scale = (scale / (scale.max() * scale.min()).sqrt()).clamp(1e-3, 1e3).half().float()
        scaled = weight * scale
        rounded = quantize(scaled, choose_qparams(scaled, granularity), granularity).dequantize() / scale
        difference = weight - rounded
        error = float(((difference @ hessian) * difference).sum())
        if error < least:
            best, least = scale, error
    return best
