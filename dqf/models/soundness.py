"""Weights that are no numbers are told by name, before hours are spent on them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from safetensors import safe_open

from dqf.errors import UserError
from dqf.models.catalog import local_model_path
from dqf.settings import Settings


def refuse_broken_weights(source: str, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse a model with NaN or infinity in its weights.

    Args:
        source: what the user called the model.
        weights: their names and values, of any dtype.

    Raises:
        UserError: the first weight that is not finite.
    """
    for name, weight in weights:
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise UserError(
                f"a model's weights must be finite: {name} of {source} holds NaN or infinity; save it again, or take "
                "another checkpoint."
            )


def refuse_broken_folder(source: str, settings: Settings) -> None:
    """Read every weight of a local model folder once, without building the model; hub ids and starters pass.

    Raises:
        UserError: a weight is not finite.
    """
    path = local_model_path(source, settings)
    if path is None or not path.is_dir() or source.startswith("starter:"):
        return
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            refuse_broken_weights(source, ((name, tensors.get_tensor(name)) for name in tensors.keys()))  # noqa: SIM118
