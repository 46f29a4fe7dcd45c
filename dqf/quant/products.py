"""The large matrix products of quantization, in BF16 where the processor multiplies it natively.

Only sums that average over thousands of terms are computed so: their error is far below what it is compared
with (see docs/decisions/0009), and they take a quarter of the time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dqf.models.device import bf16_is_fast

ROWS_AT_ONCE = 256
"""Products of this many inputs are rounded to BF16 before they are added in FP32."""


def second_moments(x: Tensor) -> Tensor:
    """Return the sum of x x^T over inputs, float32 (columns, columns), its diagonal exact in FP32.

    Args:
        x: float (tokens, columns).
    """
    if not _in_bf16(x):
        x = x.float()
        return x.T @ x
    total = torch.zeros(x.shape[1], x.shape[1], device=x.device)
    for part in x.bfloat16().split(ROWS_AT_ONCE):
        total += part.T @ part
    total.diagonal().copy_(x.float().square().sum(0))
    return total


def output_error(difference: Tensor, moments: Tensor) -> float:
    """Return the sum of squared outputs, tr(D H D^T).

    Args:
        difference: float32 (rows, columns), D, a weight or an error of one.
        moments: float32 (columns, columns), H, the sum of x x^T over the inputs.
    """
    if not _in_bf16(difference):
        return float(((difference @ moments) * difference).sum())
    low = difference.bfloat16()
    return float(((low @ moments.bfloat16()) * difference).sum())


def _in_bf16(x: Tensor) -> bool:
    return x.device.type == "cpu" and bf16_is_fast(x.device)
