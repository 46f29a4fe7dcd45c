"""Train the codes and scales of a whole block together, so that it gives what it gave in full precision.

A quantizer looks at one layer at a time; at 2 and 3 bits the errors that are left work together. Here each
code may move to a neighbour and each scale by a few per cent, from what the quantizer made, by signed
gradient descent on the block's outputs. What does not lower the error over all calibration samples is undone.

Reference: Cheng et al. (2024), "Optimize Weight Rounding via Signed Gradient Descent for the Quantization of
LLMs" (rounding learnt block by block, signed steps that shrink linearly); Li et al. (2021), "BRECQ" (blocks as
the unit of reconstruction).
Deviations: it starts from the quantizer's codes instead of the nearest ones; each token's error is relative to
that token's own output, or a few massive activations would be all that is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dqf.quant.calibration import Blocks
from dqf.quant.latent import STRETCH_UNIT, Latent
from dqf.quant.qparams import QuantizedWeight

TRAVEL = 1.0
"""Codes a weight may move by in all: the sum of the steps."""
SCALE_RATE = 0.002
"""Relative change of a scale per step, at first."""


@dataclass(frozen=True)
class Tuned:
    """What the tuning of a block did.

    Attributes:
        weights: by layer name, changed only if `after` is below `before`.
        before, after: relative squared error of the block's outputs over all calibration samples.
    """

    weights: dict[str, QuantizedWeight]
    before: float
    after: float


class BlockTuner:
    """Keeps the full-precision hidden states beside the quantized ones and tunes block after block.

    Args:
        blocks: of the model, at the first block.
        steps: gradient steps per block.
        seed: of the order of batches.
    """

    def __init__(self, blocks: Blocks, steps: int, seed: int = 0) -> None:
        self._blocks = blocks
        self._steps = steps
        self._seed = seed
        self._targets: list[Tensor] = blocks.hidden

    def look_ahead(self, index: int) -> None:
        """Note what a block gives in full precision on full-precision inputs; to be called before it is quantized."""
        self._targets = [self._blocks.run(index, at, hidden) for at, hidden in enumerate(self._targets)]

    def tune(self, index: int, weights: dict[str, QuantizedWeight], originals: dict[str, Tensor]) -> Tuned:
        """Tune the quantized layers of a block, which holds what they stand for.

        Args:
            index: of the block.
            weights: by layer name within the block.
            originals: float weights before quantization, by the same names.
        """
        with torch.inference_mode(False), torch.enable_grad():
            latents = {name: Latent(weight, originals[name]) for name, weight in weights.items()}
            before = self._error(index, {name: one.start.dequantize() for name, one in latents.items()})
            self._descend(index, latents)
            tuned = {name: one.rounded() for name, one in latents.items()}
            after = self._error(index, {name: one.dequantize() for name, one in tuned.items()})
        if not after < before:
            return Tuned(weights, before, before)
        return Tuned(tuned, before, after)

    def _descend(self, index: int, latents: dict[str, Latent]) -> None:
        generator = torch.Generator().manual_seed(self._seed + index)
        order: list[int] = []
        for step in range(self._steps):
            order = order or torch.randperm(len(self._targets), generator=generator).tolist()
            share = 1 - step / self._steps
            loss = self._loss(index, order.pop(), {name: one.weight() for name, one in latents.items()})
            parameters = [tensor for one in latents.values() for tensor in (one.shift, one.stretch)]
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for at, one in enumerate(latents.values()):
                    one.shift.sub_(2 * TRAVEL / self._steps * share * gradients[2 * at].sign())
                    one.stretch.sub_(SCALE_RATE / STRETCH_UNIT * share * gradients[2 * at + 1].sign())

    def _loss(self, index: int, at: int, weights: dict[str, Tensor]) -> Tensor:
        """Return the mean over tokens of the squared error relative to the token's own output."""
        mask = self._blocks.masks[at].clone()
        target = self._targets[at].clone()[mask]
        output = self._blocks.run(index, at, self._blocks.hidden[at].clone(), weights)[mask]
        sizes = target.square().mean(1).clamp_min(1e-12)
        return ((output - target).square().mean(1) / sizes).mean()

    @torch.no_grad()
    def _error(self, index: int, weights: dict[str, Tensor]) -> float:
        tokens = [int(mask.sum()) for mask in self._blocks.masks]
        losses = [float(self._loss(index, at, weights)) for at in range(len(tokens))]
        return sum(loss * count for loss, count in zip(losses, tokens, strict=True)) / sum(tokens)
