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


COLUMNS_AT_ONCE = 384
"""Of a symmetric result only blocks on and above the diagonal are computed, each this many rows high."""


def second_moments(x: Tensor, diagonal: Tensor) -> Tensor:
    """Return the sum of x x^T over inputs, float32 (columns, columns).

    Args:
        x: float (tokens, columns).
        diagonal: float32 (columns,), the sum of x^2, which stands for the rounded one.
    """
    if not _in_bf16(x):
        x = x.float()
        return x.T @ x
    columns = x.shape[1]
    total = torch.empty(columns, columns, device=x.device)
    parts = x.bfloat16().split(ROWS_AT_ONCE)
    for start in range(0, columns, COLUMNS_AT_ONCE):
        end = min(start + COLUMNS_AT_ONCE, columns)
        block = torch.zeros(end - start, columns - start, device=x.device)
        for part in parts:
            block += part[:, start:end].T @ part[:, start:]
        total[start:end, start:] = block
        total[start:, start:end] = block.T
    total.diagonal().copy_(diagonal)
    return total


def rounded_product(a: Tensor, b: Tensor) -> Tensor:
    """Return A B, float32 (rows, columns), with factors and result rounded to BF16 where that is fast.

    Args:
        a: float32 (rows, inner).
        b: float32 (inner, columns).
    """
    return (a.bfloat16() @ b.bfloat16()).float() if _in_bf16(a) else a @ b


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
