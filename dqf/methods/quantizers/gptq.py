"""GPTQ: quantize column by column and let the columns still to come make up for the error.

Reference: Frantar et al. (2023), "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        hessian: float32 (columns, columns), sum of x x^T over calibration inputs.
        config: damping and block size.

    Returns:
        The quantized weight.
    """
    raise ValueError
