"""Affine quantization of a matrix in groups along its input dimension.

A weight w of a group becomes an integer code q = clamp(round(w / scale) + zero_point, 0, 2^bits - 1)
and is read back as (q - zero_point) * scale. Symmetric quantization is the same with the fixed zero
point 2^(bits-1), which is then not stored.

Reference: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dqf.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Granularity:
    """How finely a weight is quantized.

    Attributes:
        bits: 8, 4, 3 or 2.
        group_size: weights of one row that share a scale; 0 means the whole row.
        symmetric: fixed zero point in the middle instead of one per group.
    """

    bits: int
    group_size: int = 0
    symmetric: bool = False

    @property
    def levels(self) -> int:
        """Highest code: 2^bits - 1."""
        return 2**self.bits - 1

    @property
    def middle(self) -> int:
        """Zero point of symmetric quantization."""
        return int(2 ** (self.bits - 1))

    def width(self, columns: int) -> int:
        """Return the group width for rows of `columns` weights.

        Raises:
            UserError: the group size does not divide the row.
        """
        if self.group_size == 0:
            return columns
        message = check_group_size(columns, self.group_size)
        if message:
            raise UserError(message)
        return self.group_size


@dataclass(frozen=True)
class QuantizedWeight:
    """A quantized matrix.

    Attributes:
        codes: uint8 (rows, columns).
        scale: float16 (rows, groups).
        zero_point: uint8 (rows, groups); None for symmetric quantization.
        granularity: how it was quantized.
        input_scale: float16 (columns,) by which the layer's input is divided before it meets the codes
            (AWQ, SmoothQuant); None where it is not.
        int8_scale: float16 (columns,) by which the layer's input is divided before it is rounded to INT8,
            by runtimes that compute in integers; None where the inputs are not known.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None
    granularity: Granularity
    input_scale: Tensor | None = None
    int8_scale: Tensor | None = None

    def dequantize(self) -> Tensor:
        """Return the float32 (rows, columns) matrix these codes stand for."""
        rows, columns = self.codes.shape
        groups = self.codes.view(rows, self.scale.shape[1], -1).float()
        zero_point = self.granularity.middle if self.zero_point is None else self.zero_point.float().unsqueeze(-1)
        weight = ((groups - zero_point) * self.scale.float().unsqueeze(-1)).view(rows, columns)
        return weight if self.input_scale is None else weight / self.input_scale.float()

    def rows(self, start: int, end: int) -> QuantizedWeight:
        """Return some of its rows."""
        zero_point = None if self.zero_point is None else self.zero_point[start:end]
        return replace(self, codes=self.codes[start:end], scale=self.scale[start:end], zero_point=zero_point)


def check_group_size(columns: int, group_size: int) -> str:
    """Return what is wrong with a group size for an input dimension, empty if it divides it."""
    if group_size == 0 or columns % group_size == 0:
        return ""
    fitting = [d for d in range(8, columns + 1) if columns % d == 0]
    near = sorted(sorted(fitting, key=lambda d: abs(d - group_size))[:3])
    return (
        f"the input dimension must be divisible by `group_size`: got {columns} and {group_size}; "
        f"{columns} is divisible by {', '.join(map(str, near))}, or use 0 for one scale per row."
    )


def choose_qparams(weight: Tensor, granularity: Granularity) -> tuple[Tensor, Tensor]:
    """Choose scale and zero point of each group from its smallest and largest weight.

    Args:
        weight: float (rows, columns), finite.
        granularity: bits, group size, symmetry.

    Returns:
        scale float16 (rows, groups) and zero_point uint8 (rows, groups).

    Raises:
        UserError: the weight holds NaN or infinity, or the group size does not fit.
    """
    import torch

    if not torch.isfinite(weight).all():
        raise UserError("weights must be finite: got NaN or infinity; the model to quantize is broken, train it again.")
    rows, columns = weight.shape
    groups = weight.float().reshape(rows, -1, granularity.width(columns))
    return _qparams(groups.amin(-1), groups.amax(-1), granularity)


def search_qparams(
    weight: Tensor, granularity: Granularity, importance: Tensor | None = None, steps: int = 12, narrowest: float = 0.4
) -> tuple[Tensor, Tensor]:
    """Choose scale and zero point of each group so that its weighted squared rounding error is least.

    The range between the smallest and largest weight is narrowed step by step: outliers are clipped
    where that serves the others.

    Args:
        weight: float (rows, columns), finite.
        granularity: bits, group size, symmetry.
        importance: float (columns,), weight of each column's squared error; None weighs all alike.
        steps: candidates tried.
        narrowest: smallest share of the full range tried.

    Returns:
        scale float16 (rows, groups) and zero_point uint8 (rows, groups).

    Raises:
        UserError: as `choose_qparams`.
    """
    import torch

    best_scale, best_zero = choose_qparams(weight, granularity)
    if granularity.bits == 8:
        return best_scale, best_zero
    rows, columns = weight.shape
    groups = weight.float().reshape(rows, -1, granularity.width(columns))
    weights = None if importance is None else importance.float().reshape(1, groups.shape[1], -1)
    low, high = groups.amin(-1), groups.amax(-1)
    least = torch.full_like(low, float("inf"))
    for step in range(steps):
        share = 1 - (1 - narrowest) * step / steps
        scale, zero_point = _qparams(low * share, high * share, granularity)
        s, z = scale.float().unsqueeze(-1), zero_point.float().unsqueeze(-1)
        error = ((round_to_codes(groups, s, z, granularity.levels) - z) * s - groups).square_()
        error = (error if weights is None else error * weights).sum(-1)
        better = error < least
        least = torch.where(better, error, least)
        best_scale, best_zero = torch.where(better, scale, best_scale), torch.where(better, zero_point, best_zero)
    return best_scale, best_zero


def _qparams(low: Tensor, high: Tensor, granularity: Granularity) -> tuple[Tensor, Tensor]:
    """Return scale and zero point that cover the ranges from `low` to `high`."""
    import torch

    if granularity.symmetric:
        half = granularity.middle - 1 if granularity.bits > 2 else 1.5
        scale = torch.maximum(low.abs(), high.abs()) / half
        zero_point = torch.full_like(scale, granularity.middle)
    else:
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / granularity.levels
        zero_point = torch.round(-low / scale.clamp(min=2**-24))
    smallest = float(torch.finfo(torch.float16).smallest_normal)
    scale = scale.clamp(min=smallest, max=65504.0).half()
    return scale, zero_point.clamp(0, granularity.levels).to(torch.uint8)


def round_to_codes(weight: Tensor, scale: Tensor, zero_point: Tensor, levels: int) -> Tensor:
    """Return the nearest codes, as float; all arguments broadcast against each other."""
    import torch

    return torch.clamp(torch.round(weight / scale) + zero_point, 0, levels)


def quantize(weight: Tensor, scale: Tensor, zero_point: Tensor, granularity: Granularity) -> QuantizedWeight:
    """Round a weight to the codes of given scales and zero points.

    Args:
        weight: float (rows, columns).
        scale: float16 (rows, groups).
        zero_point: uint8 (rows, groups).
        granularity: bits, group size, symmetry.

    Returns:
        The quantized weight.
    """
    import torch

    rows, columns = weight.shape
    groups = weight.float().reshape(rows, scale.shape[1], -1)
    codes = round_to_codes(groups, scale.float().unsqueeze(-1), zero_point.float().unsqueeze(-1), granularity.levels)
    return QuantizedWeight(
        codes.to(torch.uint8).reshape(rows, columns), scale, None if granularity.symmetric else zero_point, granularity
    )
