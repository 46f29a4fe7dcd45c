"""States inside a model: one vector per sentence and layer, and attention maps averaged over heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MASSIVE = 4.0
"""A token is massive if its norm is this many times the median's of its text."""


@dataclass(frozen=True)
class Features:
    """What a distiller with `needs_features` is shown of a batch.

    Attributes:
        student: per pair of layers, float (batch, width) states in the teacher's space.
        teacher: per pair, float (batch, width), standardized over the training rows.
        student_attention: float (batch, tokens, tokens), averaged over the heads of the last pair's student
            layer; None where none is matched.
        teacher_attention: likewise of the teacher; each row of a real token sums to 1.
        mask: int64 (batch, tokens), 1 where a token is real.
    """

    student: tuple[Tensor, ...]
    teacher: tuple[Tensor, ...]
    student_attention: Tensor | None = None
    teacher_attention: Tensor | None = None
    mask: Tensor | None = None


def reads_left_to_right(model: nn.Module) -> bool:
    """Tell whether a token sees only those before it, so that the last one has seen them all."""
    return any(getattr(module, "is_causal", False) for module in model.modules())


def sentence_states(hidden_states: Sequence[Tensor], layers: Sequence[int], mask: Tensor, last: bool) -> list[Tensor]:
    """Return one float32 (batch, width) state per layer.

    Args:
        hidden_states: of all layers, each (batch, tokens, width); number 0 went into the first layer.
        layers: numbers of the wanted ones.
        mask: (batch, tokens), 1 where a token is real; padding is on the right.
        last: take the last real token's state instead of the mean over real tokens.

    The mean leaves massive tokens out: in a decoder's middle layers the first token's state is a hundred times larger
    than the others', and the same for every text, so that a mean with it says how long the text is.

    Reference: Sun et al. (2024), "Massive Activations in Large Language Models".
    """
    chosen = [hidden_states[layer].float() for layer in layers]
    if last:
        rows, at = torch.arange(len(mask), device=mask.device), mask.sum(1) - 1
        return [states[rows, at] for states in chosen]
    return [torch.bmm(_weights(states, mask), states).squeeze(1) for states in chosen]


def _weights(states: Tensor, mask: Tensor) -> Tensor:
    """Return float32 (batch, 1, tokens) weights of a mean over the real tokens whose norm is an ordinary one."""
    norms = states.detach().norm(dim=-1).masked_fill(mask == 0, torch.nan)
    ordinary = norms <= MASSIVE * norms.nanmedian(dim=1, keepdim=True).values
    kept = torch.where(ordinary.any(dim=1, keepdim=True), ordinary, mask != 0).float()
    return (kept / kept.sum(1, keepdim=True)).unsqueeze(1)


def mean_attention(attentions: Sequence[Tensor], layer: int) -> Tensor:
    """Return float32 (batch, tokens, tokens), the attention of a layer (counted from 1) averaged over its heads."""
    return attentions[layer - 1].float().mean(1)
