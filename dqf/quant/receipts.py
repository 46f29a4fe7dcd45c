"""Receipts: what was really done to each layer, and what it cost there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

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
        bits, group_size, symmetric: its granularity.
        params: weights quantized.
        calibration_tokens: input vectors the quantizer saw.
        error: relative squared error of what was kept.
        error_rtn: the same for round-to-nearest.
        error_of: `output` (of the layer, on its calibration inputs) or `weight` (where there are none).
        fallback: why the chosen quantizer's result was not kept; empty if it was.
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def relative_error(weight: Tensor, quantized: QuantizedWeight, hessian: Tensor | None) -> float:
    """Return ||(W - Q) X||^2 / ||W X||^2, or without inputs ||W - Q||^2 / ||W||^2.

    Args:
        weight: float32 (rows, columns), W.
        quantized: Q.
        hessian: float32 (columns, columns), the sum of x x^T; None without inputs.
    """
    difference = weight - quantized.dequantize()
    if hessian is None:
        return float(difference.square().sum() / weight.square().sum().clamp(min=1e-30))
    lost = ((difference @ hessian) * difference).sum()
    return float(lost / ((weight @ hessian) * weight).sum().clamp(min=1e-30))
