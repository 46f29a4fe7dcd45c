"""Affine quantization of a matrix in groups along its input dimension.

A weight w of a group becomes an integer code q = clamp(round(w / scale) + zero_point, 0, 2^bits - 1)
and is read back as (q - zero_point) * scale. Symmetric quantization is the same with the fixed zero
point 2^(bits-1), which is then not stored.

Reference: Jacob et al. (2018), "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", equation 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from dqf.errors import UserError
from dqf.quant.scales import FP16_BITS, row_scales, storable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Granularity:
    """How finely a weight is quantized.

    Attributes:
        bits: 8, 4, 3 or 2.
        group_size: weights of one row that share a scale; 0 means the whole row.
        symmetric: fixed zero point in the middle instead of one per group.
        scale_bits: of a group's scale; 16 for an FP16 number, fewer for a multiple of one FP16 number per row.
    """

    bits: int
    group_size: int = 0
    symmetric: bool = False
    scale_bits: int = FP16_BITS

    @property
    def levels(self) -> int:
        """Highest code: 2^bits - 1."""
        return 2**self.bits - 1

    @property
    def middle(self) -> int:
        """Zero point of symmetric quantization."""
        return int(2 ** (self.bits - 1))

    @property
    def has_row_scale(self) -> bool:
        """Whether groups' scales are multiples of their row's; a row that is one group has one scale anyway."""
        return self.scale_bits < FP16_BITS and self.group_size > 0

    def width(self, columns: int) -> int:
        """Return the group width for rows of `columns` weights.

        Raises:
            UserError: the group size does not divide the row.
        """
        if self.group_size == 0:
            return columns
        message = check_group_size((columns,), self.group_size)
        if message:
            raise UserError(message)
        return self.group_size


class QParams(NamedTuple):
    """Scales and zero points of a matrix.

    Attributes:
        scale: float16 (rows, groups).
        zero_point: uint8 (rows, groups), also of symmetric quantization.
        row_scale: float16 (rows, 1) that the scales of a row are multiples of; None where they are not.
    """

    scale: Tensor
    zero_point: Tensor
    row_scale: Tensor | None = None

    def better(self, other: QParams, where: Tensor) -> QParams:
        """Return these, or another's of the same row scales for the groups in bool (rows, groups) `where`."""
        import torch

        scale = torch.where(where, other.scale, self.scale)
        return QParams(scale, torch.where(where, other.zero_point, self.zero_point), self.row_scale)


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
        row_scale: float16 (rows, 1) that the scales of a row are multiples of; None where they are not.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None
    granularity: Granularity
    input_scale: Tensor | None = None
    int8_scale: Tensor | None = None
    row_scale: Tensor | None = None

    def dequantize(self) -> Tensor:
        """Return the float32 (rows, columns) matrix these codes stand for."""
        rows, columns = self.codes.shape
        groups = self.codes.view(rows, self.scale.shape[1], -1).float()
        zero_point = self.granularity.middle if self.zero_point is None else self.zero_point.float().unsqueeze(-1)
        weight = ((groups - zero_point) * self.scale.float().unsqueeze(-1)).view(rows, columns)
        return weight if self.input_scale is None else weight / self.input_scale.float()

    @property
    def scale_bits(self) -> int:
        """Bits that each group's scale takes in a file."""
        return FP16_BITS if self.row_scale is None else self.granularity.scale_bits

    def rows(self, start: int, end: int) -> QuantizedWeight:
        """Return some of its rows."""
        zero_point = None if self.zero_point is None else self.zero_point[start:end]
        row_scale = None if self.row_scale is None else self.row_scale[start:end]
        scale = self.scale[start:end]
        return replace(self, codes=self.codes[start:end], scale=scale, zero_point=zero_point, row_scale=row_scale)


def check_group_size(columns: Sequence[int], group_size: int) -> str:
    """Return what is wrong with a group size for input dimensions, empty if it divides them all."""
    if group_size == 0 or all(one % group_size == 0 for one in columns):
        return ""
    common = math.gcd(*columns)
    near = sorted(sorted((d for d in range(8, common + 1) if common % d == 0), key=lambda d: abs(d - group_size))[:3])
    fitting = f"{', '.join(map(str, near))} would fit, or" if near else "no size from 8 would fit,"
    (what, given), all_of = (
        (("dimensions", f"{', '.join(map(str, columns[:-1]))} and {columns[-1]}"), " all")
        if len(columns) > 1
        else (("dimension", str(columns[0])), "")
    )
    return (
        f"the input {what} must{all_of} be divisible by `group_size`: got {given}, and {group_size}; "
        f"{fitting} use 0 for one scale per row."
    )


def choose_qparams(weight: Tensor, granularity: Granularity, row_scale: Tensor | None = None) -> QParams:
    """Choose scale and zero point of each group from its smallest and largest weight.

    Args:
        weight: float (rows, columns), finite.
        granularity: bits, group size, symmetry, kind of scales.
        row_scale: float16 (rows, 1) to take multiples of; None chooses it where the granularity has one.

    Returns:
        Scales and zero points.

    Raises:
        UserError: the weight holds NaN or infinity, or the group size does not fit.
    """
    import torch

    if not torch.isfinite(weight).all():
        raise UserError("weights must be finite: got NaN or infinity; the model to quantize is broken, train it again.")
    rows, columns = weight.shape
    groups = weight.float().reshape(rows, -1, granularity.width(columns))
    return _qparams(groups.amin(-1), groups.amax(-1), granularity, row_scale)


def search_qparams(
    weight: Tensor,
    granularity: Granularity,
    importance: Tensor | None = None,
    row_scale: Tensor | None = None,
    steps: int = 12,
    narrowest: float = 0.4,
) -> QParams:
    """Choose scale and zero point of each group so that its weighted squared rounding error is least.

    The range between the smallest and largest weight is narrowed step by step: outliers are clipped
    where that serves the others.

    Args:
        weight: float (rows, columns), finite.
        granularity: bits, group size, symmetry, kind of scales.
        importance: float (columns,), weight of each column's squared error; None weighs all alike.
        row_scale: float16 (rows, 1) to take multiples of; None chooses it where the granularity has one, from the
            scales that would be best without.
        steps: candidates tried.
        narrowest: smallest share of the full range tried.

    Returns:
        Scales and zero points.

    Raises:
        UserError: as `choose_qparams`.
    """
    import torch

    if granularity.bits == 8:
        return choose_qparams(weight, granularity, row_scale)
    if granularity.has_row_scale and row_scale is None:
        free = search_qparams(weight, replace(granularity, scale_bits=FP16_BITS), importance, None, steps, narrowest)
        row_scale = row_scales(free.scale, granularity.scale_bits)
    best = choose_qparams(weight, granularity, row_scale)
    rows, columns = weight.shape
    groups = weight.float().reshape(rows, -1, granularity.width(columns))
    weights = None if importance is None else importance.float().reshape(1, groups.shape[1], -1)
    low, high = groups.amin(-1), groups.amax(-1)
    least = torch.full_like(low, float("inf"))
    for step in range(steps):
        share = 1 - (1 - narrowest) * step / steps
        tried = _qparams(low * share, high * share, granularity, row_scale)
        s, z = tried.scale.float().unsqueeze(-1), tried.zero_point.float().unsqueeze(-1)
        error = ((round_to_codes(groups, s, z, granularity.levels) - z) * s - groups).square_()
        error = (error if weights is None else error * weights).sum(-1)
        better = error < least
        least = torch.where(better, error, least)
        best = best.better(tried, better)
    return best


def _qparams(low: Tensor, high: Tensor, granularity: Granularity, row_scale: Tensor | None) -> QParams:
    """Return scale and zero point that cover the ranges from `low` to `high`, as far as the row's scale reaches."""
    import torch

    if granularity.symmetric:
        half = granularity.middle - 1 if granularity.bits > 2 else 1.5
        scale = torch.maximum(low.abs(), high.abs()) / half
    else:
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = (high - low) / granularity.levels
    if granularity.has_row_scale and row_scale is None:
        row_scale = row_scales(scale, granularity.scale_bits)
    stored = storable(scale, row_scale, granularity.scale_bits, cover=True)
    if granularity.symmetric:
        zero_point = torch.full_like(scale, granularity.middle)
    else:
        zero_point = torch.round(-low / (scale.clamp(min=2**-24) if row_scale is None else stored.float()))
    return QParams(stored, zero_point.clamp(0, granularity.levels).to(torch.uint8), row_scale)


def round_to_codes(weight: Tensor, scale: Tensor, zero_point: Tensor, levels: int) -> Tensor:
    """Return the nearest codes, as float; all arguments broadcast against each other."""
    import torch

    return torch.clamp(torch.round(weight / scale) + zero_point, 0, levels)


def quantize(weight: Tensor, qparams: QParams, granularity: Granularity) -> QuantizedWeight:
    """Round a weight to the codes of given scales and zero points.

    Args:
        weight: float (rows, columns).
        qparams: scales and zero points.
        granularity: bits, group size, symmetry, kind of scales.

    Returns:
        The quantized weight.
    """
    rows, columns = weight.shape
    scale, zero_point = qparams.scale.float().unsqueeze(-1), qparams.zero_point.float().unsqueeze(-1)
    groups = weight.float().reshape(rows, qparams.scale.shape[1], -1)
    codes = round_to_codes(groups, scale, zero_point, granularity.levels)
    return quantized(codes.reshape(rows, columns), qparams, granularity)


def quantized(codes: Tensor, qparams: QParams, granularity: Granularity) -> QuantizedWeight:
    """Return the weight that float (rows, columns) codes stand for with given scales and zero points."""
    import torch

    scale, zero_point, row_scale = qparams
    stored = None if granularity.symmetric else zero_point
    return QuantizedWeight(codes.to(torch.uint8), scale, stored, granularity, row_scale=row_scale)
