"""Low-rank adapters: train two thin matrices beside each frozen one, and add them to it afterwards.

Reference: Hu et al. (2021), "LoRA: Low-Rank Adaptation of Large Language Models"; the adapters are `peft`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from transformers import PreTrainedModel

from dqf.models.loading import layer_stack


def add_adapters(model: PreTrainedModel, rank: int, alpha: int, dropout: float, seed: int) -> Callable[[], None]:
    """Freeze a classifier but for its head, and put adapters beside every linear layer of its blocks.

    Args:
        model: sequence classifier; changed in place.
        rank: of the adapters' product.
        alpha: the product is scaled by alpha / rank.
        dropout: of what goes into the adapters.
        seed: of the adapters' weights.

    Returns:
        A function that adds the adapters to the weights and takes them away, so that the model is as before but
        for its values.

    Raises:
        UserError: the architecture has no single stack of layers.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    inside, outside = _linear_layers(model)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=[name for name, _ in inside], bias="none"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = LoraModel(model, config, "default")
    for _, layer in outside:
        layer.requires_grad_(True)

    def merge() -> None:
        adapted.merge_and_unload()
        if hasattr(model, "peft_config"):
            del model.peft_config

    return merge


def _linear_layers(model: nn.Module) -> tuple[list[tuple[str, nn.Linear]], list[tuple[str, nn.Linear]]]:
    """Return name and module of the linear layers inside the transformer blocks and outside of them (the head)."""
    stack, _ = layer_stack(model)

    def linear() -> Iterator[tuple[str, nn.Linear]]:
        return ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))

    inside = [(name, module) for name, module in linear() if name.startswith(f"{stack}.")]
    return inside, [(name, module) for name, module in linear() if not name.startswith(f"{stack}.")]
