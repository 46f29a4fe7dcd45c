"""Weight-only INT8: eight bits, one scale per output row, no zero points; close to lossless."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dqf.registry import NoOptions, register

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.calibration import LayerInputs
    from dqf.quant.qparams import Granularity, QuantizedWeight


@register(
    "quantizer",
    "int8",
    title="Weight-only INT8",
    summary="Eight bits with one symmetric scale per output row; needs no calibration data.",
    needs_calibration=False,
    bits=(8,),
    per_row=True,
)
def quantize_weight(
    weight: Tensor, granularity: Granularity, inputs: LayerInputs | None, config: NoOptions
) -> QuantizedWeight:
    """Quantize a weight to INT8, row by row.

    Args:
        weight: float (rows, columns).
        granularity: not used but for its bits: rows share one scale, symmetric.
        inputs: not used.
        config: not used.

    Returns:
        The quantized weight.
    """
    from dqf.quant.qparams import Granularity, choose_qparams, quantize

    per_row = Granularity(granularity.bits, 0, symmetric=True)
    return quantize(weight, choose_qparams(weight, per_row), per_row)
