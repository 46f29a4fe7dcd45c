"""Round to nearest: every weight goes to the nearest level of its group; the baseline of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dqf.registry import NoOptions, register

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.calibration import LayerInputs
    from dqf.quant.qparams import Granularity, QuantizedWeight


@register(
    "quantizer",
    "rtn",
    title="Round to nearest",
    summary="Rounds each weight to the nearest level of its group; needs no calibration data.",
    needs_calibration=False,
)
def quantize_weight(
    weight: Tensor, granularity: Granularity, inputs: LayerInputs | None, config: NoOptions
) -> QuantizedWeight:
    """Quantize a weight by rounding to nearest.

    Args:
        weight: float (rows, columns).
        granularity: bits, group size and symmetry.
        inputs: not used.
        config: not used.

    Returns:
        The quantized weight.
    """
    from dqf.quant.qparams import choose_qparams, quantize

    return quantize(weight, choose_qparams(weight, granularity), granularity)
