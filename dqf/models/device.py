"""Where and in which precision to compute."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from dqf.errors import UserError


def choose_device(wanted: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`.

    Raises:
        UserError: CUDA was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("`device` cuda needs a CUDA GPU that torch can see: there is none; use auto or cpu.")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def bf16_is_fast(device: torch.device) -> bool:
    """Tell whether the device multiplies BF16 matrices natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return BF16 autocast where it is fast, else a context that does nothing."""
    if bf16_is_fast(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
