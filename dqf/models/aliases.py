"""Weights that a model holds under several names, as an encoder-decoder does its table of embeddings."""

from __future__ import annotations

from torch import Tensor, nn


def aliases(model: nn.Module) -> set[str]:
    """Return the further names of weights: all but the first one of each."""
    first = {name for name, _ in model.named_parameters()}
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - first


def without_aliases(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state, each weight once: a file that held it under every name would look larger than it is."""
    further = aliases(model)
    return {name: weight for name, weight in model.state_dict().items() if name not in further}
