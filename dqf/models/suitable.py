"""Which architectures can be quantized; their weights need not be there."""

from __future__ import annotations

from typing import Any

from torch import nn

from dqf.errors import UserError
from dqf.models.loading import layer_stack, refuse_split_layers

MOSTLY = 0.9
"""Share of the weights of the blocks that must be in linear layers; some have small tables besides."""


def refuse_unsuitable(model: nn.Module) -> None:
    """Refuse a model whose blocks multiply by more than linear layers, or whose blocks do not stand in one list.

    The first would stay FP16 and be called 4-bit; of the second (an encoder and a decoder, or lists of the layers'
    parts) one list alone would be calibrated block after block.

    Raises:
        UserError: it is such a model.
    """
    config: Any = getattr(model, "config", None)
    name = type(model).__name__
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"a model to quantize must be an encoder or a decoder: {name} is both; take another as student (as teacher "
            "it serves)."
        )
    try:
        _, blocks = layer_stack(model)
    except UserError:
        return
    refuse_split_layers(model)
    linear = sum(one.weight.numel() for one in blocks.modules() if isinstance(one, nn.Linear))
    whole = sum(weight.numel() for weight in blocks.parameters() if weight.ndim > 1)
    if linear < MOSTLY * whole:
        raise UserError(
            f"blocks must consist of linear layers: in {name} they hold {linear / whole:.0%} of the weights, and the "
            "others would stay in FP16; take another architecture."
        )
