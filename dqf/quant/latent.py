"""Quantized weights as something gradient descent can move: where each weight stands on its grid of codes.

Reference: Bengio et al. (2013), "Estimating or Propagating Gradients Through Stochastic Neurons" (the
straight-through estimator); Esser et al. (2020), "Learned Step Size Quantization" (steps trained along).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dqf.quant.qparams import QuantizedWeight
from dqf.quant.scales import scaled_rows, storable

NEAR = 0.45
"""How near to a rounding border a weight may stand at the start."""
STRETCH_UNIT = 1 / 6
"""Relative change of a scale for a stretch of one: scales are trained more slowly than places."""


class Latent(nn.Module):
    """A quantized weight whose codes and scales can be trained; zero points stay.

    It starts as exactly what the quantizer made. Where the original weight stood within its step is kept, so
    near ties move first.

    Attributes:
        start: what the quantizer made.
        place: float32 (rows, columns), where each weight stands on the grid of codes at the start.
        shift: float32 (rows, columns), trained: how far it has moved, in codes.
        stretch: float32 (rows, groups), trained: relative change of each scale, in units of `STRETCH_UNIT`; (rows, 1)
            where scales are multiples of their row's, which are too coarse to follow small steps: the row's moves.

    Args:
        start: quantized weight.
        original: float (rows, columns) weight it stands for.
    """

    place: Tensor

    def __init__(self, start: QuantizedWeight, original: Tensor) -> None:
        super().__init__()
        # Copies: tensors made in inference mode may not take part in a backward pass.
        self.start = replace(
            start,
            codes=start.codes.clone(),
            scale=start.scale.clone(),
            zero_point=None if start.zero_point is None else start.zero_point.clone(),
            input_scale=None if start.input_scale is None else start.input_scale.clone(),
            row_scale=None if start.row_scale is None else start.row_scale.clone(),
        )
        rows, groups = start.scale.shape
        wanted = original.detach().clone().float()
        if self.start.input_scale is not None:
            wanted = wanted * self.start.input_scale.float()
        exact = wanted.view(rows, groups, -1) / self.start.scale.float().unsqueeze(-1) + self._zero()
        codes = self.start.codes.view(rows, groups, -1).float()
        place = codes + (exact - codes).clamp_(-NEAR, NEAR)
        self.register_buffer("place", place.flatten(1), persistent=False)
        self.shift = nn.Parameter(torch.zeros_like(self.place))
        trained = self.start.scale if self.start.row_scale is None else self.start.row_scale
        self.stretch = nn.Parameter(torch.zeros_like(trained, dtype=torch.float32))

    def forward(self, place: Tensor) -> Tensor:
        """Return the float32 (rows, columns) weight that is trained.

        Args:
            place: this latent's own; `parametrize` hands it back.
        """
        scale, zero = self.start.scale.float(), self._zero()
        levels = self.start.granularity.levels
        dense: Tensor = _Dequantized.apply(place, self.shift, self.stretch, scale, zero, levels)
        return dense if self.start.input_scale is None else dense / self.start.input_scale.float()

    def weight(self) -> Tensor:
        """Return the float32 (rows, columns) weight that is trained."""
        return self(self.place)

    @torch.no_grad()
    def rounded(self) -> QuantizedWeight:
        """Return the weight as it would be stored."""
        times, row_scale, scale_bits = 1 + STRETCH_UNIT * self.stretch, self.start.row_scale, self.start.scale_bits
        wanted = self.start.scale.float() * times
        if row_scale is not None:
            row_scale = scaled_rows(row_scale, times, wanted, scale_bits)
        scale = storable(wanted, row_scale, scale_bits)
        codes = (self.place + self.shift).clamp(0, self.start.granularity.levels).round()
        return replace(self.start, codes=codes.to(torch.uint8), scale=scale, row_scale=row_scale)

    def _zero(self) -> Tensor | int:
        zero = self.start.zero_point
        return self.start.granularity.middle if zero is None else zero.float().unsqueeze(-1)


class _Dequantized(torch.autograd.Function):
    """(round(clamp(place + shift)) - zero) * scale * (1 + stretch); backward takes rounding for the identity."""

    @staticmethod
    def forward(
        ctx: Any, place: Tensor, shift: Tensor, stretch: Tensor, scale: Tensor, zero: Tensor | int, levels: int
    ) -> Tensor:
        rows, groups = scale.shape
        moved = (place + shift).view(rows, groups, -1)
        codes = moved.clamp(0, levels)
        inside = codes == moved
        step = (scale * (1 + STRETCH_UNIT * stretch)).unsqueeze(-1)
        centred = codes.round_().sub_(zero)
        ctx.save_for_backward(centred.to(torch.int16), inside, step, scale, stretch)
        return (centred * step).flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        centred, inside, step, scale, stretch = ctx.saved_tensors
        gradient = gradients[0].view(centred.shape)
        of_stretch = ((gradient * centred).sum(-1) * (STRETCH_UNIT * scale)).sum_to_size(stretch.shape)
        return None, (gradient * step).mul_(inside).flatten(1), of_stretch, None, None, None


@contextlib.contextmanager
def trainable(model: nn.Module, weights: Mapping[str, QuantizedWeight]) -> Iterator[dict[str, Latent]]:
    """Put trainable codes and scales in the place of a model's weights; nothing else of it is trained.

    Args:
        model: holds the original weights; afterwards it holds the quantized ones as trained.
        weights: quantized weights by parameter name; a tied one stands once.
    """
    owners: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            owners.setdefault(id(module.weight), []).append(module)
    model.requires_grad_(False)
    latents: dict[str, Latent] = {}
    held = []
    for name, start in weights.items():
        weight = model.get_parameter(name)
        latent = latents[name] = Latent(start, weight).to(weight.device)
        for module in owners[id(weight)]:
            module.weight = nn.Parameter(latent.place, requires_grad=False)
            parametrize.register_parametrization(module, "weight", latent, unsafe=True)
            held.append((module, latent))
    try:
        yield latents
    finally:
        for module, latent in held:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
            module.weight = nn.Parameter(latent.rounded().dequantize(), requires_grad=False)
