"""Receipts: what was really done to each layer, and what it cost there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dqf.quant.scales import FP16_BITS

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.qparams import QuantizedWeight


@dataclass(frozen=True)
class LayerReceipt:
    """What was done to one layer.

    Attributes:
        name: of the weight.
        kind: `linear` or `embedding`.
        method: the quantizer whose result was kept.
        bits, group_size, symmetric, scale_bits: its granularity.
        params: weights quantized.
        calibration_tokens: input vectors the quantizer saw.
        error: relative squared error of what was kept.
        error_rtn: the same for round-to-nearest.
        error_of: `output` (of the layer, on its calibration inputs) or `weight` (where there are none).
        fallback: why the chosen quantizer's result was not kept; empty if it was.
        block_error_before, block_error: relative squared error of the outputs of the layer's whole block before and
            after it was tuned (`dqf.quant.block_tuning`); None where it was not.
        output_distance_before, output_distance: of the whole model's outputs to those in full precision, on texts held
            back, before and after all layers were tuned together (`dqf.quant.output_tuning`); None where they were not.
    """

    name: str
    kind: str
    method: str
    bits: int
    group_size: int
    symmetric: bool
    params: int
    calibration_tokens: int
    error: float
    error_rtn: float
    error_of: str
    fallback: str
    block_error_before: float | None = None
    block_error: float | None = None
    output_distance_before: float | None = None
    output_distance: float | None = None
    scale_bits: int = FP16_BITS

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def signal(weight: Tensor, hessian: Tensor | None) -> float:
    """Return ||W X||^2, or without inputs ||W||^2: what the error of a layer is relative to.

    Args:
        weight: float32 (rows, columns), W.
        hessian: float32 (columns, columns), the sum of x x^T; None without inputs.
    """
    from dqf.quant.products import output_error

    whole = float(weight.square().sum()) if hessian is None else output_error(weight, hessian)
    return max(whole, 1e-30)


def squared_error(weight: Tensor, quantized: QuantizedWeight, hessian: Tensor | None) -> float:
    """Return ||(W - Q) X||^2, or without inputs ||W - Q||^2.

    Args:
        weight: float32 (rows, columns), W.
        quantized: Q.
        hessian: float32 (columns, columns), the sum of x x^T; None without inputs.
    """
    from dqf.quant.products import output_error

    difference = weight - quantized.dequantize()
    return float(difference.square().sum()) if hessian is None else output_error(difference, hessian)
