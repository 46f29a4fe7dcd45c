"""Transformer blocks compiled for a long training on a CPU: what lies between the matrix products is fused.

Norms, rotations, activations and the copies between FP32 and BF16 are many short operations, each of which reads and
writes memory; torch's compiler makes one pass of several of them. Blocks with dropout are left as they are: compiled,
they are slower (docs/decisions/0028-compiled-training.md).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from dqf.data.encode import Encoded
from dqf.models.loading import layer_stack
from dqf.progress import Reporter
from dqf.training import Recipe

FROM_FLOPS = 2e13
"""A shorter training is over before compiling has paid: about two minutes on one core that multiplies BF16."""


def can_compile(device: torch.device) -> bool:
    """Tell whether blocks may be compiled: on a CPU, with a C++ compiler and Python's headers, unless switched off.

    torch's own variable `TORCH_COMPILE_DISABLE=1` switches it off.
    """
    if device.type != "cpu" or os.environ.get("TORCH_COMPILE_DISABLE", "0") not in ("", "0"):
        return False
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return shutil.which(os.environ.get("CXX", "g++")) is not None and headers.is_file()


def training_flops(model: nn.Module, encoded: Encoded, recipe: Recipe) -> float:
    """Return the floating-point operations of a training's products: six for each weight of the blocks and token."""
    weights = sum(weight.numel() for weight in layer_stack(model)[1].parameters())
    return 6.0 * weights * recipe.epochs * sum(len(ids) for ids in encoded.ids)


def _drops_out(model: nn.Module) -> bool:
    return any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in layer_stack(model)[1].modules())


@contextlib.contextmanager
def compiled_blocks(
    model: nn.Module, encoded: Encoded, recipe: Recipe, device: torch.device, reporter: Reporter
) -> Iterator[None]:
    """Compile a model's blocks for the time of a training that is long enough to earn it; else do nothing.

    All blocks share one compiled function, for any batch and length. Its numbers differ from the plain ones in the last
    bits, as BF16 is rounded less often.

    Args:
        model: classifier with one stack of layers.
        encoded: the rows it will be trained on.
        recipe: how.
        device: where.
        reporter: is told.
    """
    if not can_compile(device) or _drops_out(model) or training_flops(model, encoded, recipe) < FROM_FLOPS:
        yield
        return
    blocks = layer_stack(model)[1]
    reporter.message("Compiling the model's blocks; the first step takes about half a minute.")
    settings = torch._dynamo.config.patch(suppress_errors=True)  # what cannot be compiled runs as it is
    with settings, torch._inductor.config.patch(compile_threads=1):
        for block in blocks:
            block.compile(dynamic=True)
        try:
            yield
        finally:
            for block in blocks:
                block._compiled_call_impl = None
