"""SmoothQuant: 8-bit weights scaled so that their inputs can be rounded to 8 bits too.

Reference: Xiao et al. (2023), "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large
Language Models", equation 4.
Deviations: the scale stays with the layer instead of being folded into what stands before it, so that
any `nn.Linear` can have one; with `strength` 0 the migration strength is chosen per layer.
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
class SmoothQuantConfig:
    """Settings of SmoothQuant."""

    strength: float = setting(
        0.0,
        "Migration strength",
        "How much of the inputs' range moves into the weights, 0.5 in the paper; 0 chooses it per layer.",
        minimum=0.0,
        maximum=1.0,
        flag="--smoothing",
        advanced=True,
    )


@register(
    "quantizer",
    "smoothquant",
    title="SmoothQuant W8A8",
    config=SmoothQuantConfig,
    summary="Eight-bit weights scaled so that integer runtimes can round their inputs to 8 bits as well.",
    needs_calibration=True,
    scales_inputs=True,
    bits=(8,),
    per_row=True,
)
def quantize_weight(
    weight: Tensor, granularity: Granularity, inputs: LayerInputs | None, config: SmoothQuantConfig
) -> QuantizedWeight:
    """Quantize a weight by SmoothQuant.

    Args:
        weight: float (rows, columns).
        granularity: not used but for its bits: rows share one scale, symmetric, as INT8 kernels need.
        inputs: statistics of the layer's calibration inputs.
        config: migration strength.

    Returns:
        The quantized weight, with equal `input_scale` and `int8_scale`.

    Raises:
        UserError: there are no inputs, or the weight is not finite.
    """
    import dataclasses

    from dqf.quant.qparams import Granularity, choose_qparams, quantize
    from dqf.quant.smoothing import STRENGTHS, search_int8_scale

    if inputs is None:
        raise UserError("SmoothQuant needs calibration inputs for every layer: got none; give it calibration samples.")
    scale = search_int8_scale(weight.float(), inputs, (config.strength,) if config.strength else STRENGTHS)
    scaled = weight.float() * scale.float()
    per_row = Granularity(granularity.bits, 0, symmetric=True)
    quantized = quantize(scaled, choose_qparams(scaled, per_row), per_row)
    return dataclasses.replace(quantized, input_scale=scale, int8_scale=scale)
