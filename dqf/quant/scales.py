"""What scales a file can hold: one FP16 number per group, or whole multiples of one FP16 number per row.

A multiple takes `scale_bits` bits instead of sixteen. It runs from 1 to 2^scale_bits, and the row's scale has so few
significant bits that each product is an FP16 number itself: whatever reads or exports the group's scale rounds nothing.

Reference: Lin et al. (2024), "QServe: W4A8KV4 Quantization and System Co-design for Efficient LLM Serving", section 4.1
(progressive group quantization: integer scales of groups on one scale per row).
Deviation: multiples are of 4 or 8 bits and the row's scale is FP16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

FP16_BITS = 16
SCALE_BITS = (FP16_BITS, 8, 4)
SMALLEST = 2.0**-14
"""Smallest normal FP16 number: what is below loses digits, and some runtimes take it for zero."""
LARGEST = 65504.0
LARGEST_OF_MULTIPLES = 2.0**15
"""So that the largest multiple of a row's scale, which is rounded up, stays an FP16 number."""
SIGNIFICANT_BITS = 11
"""Of an FP16 number."""


def row_scales(scale: Tensor, scale_bits: int) -> Tensor:
    """Return the number per row whose multiples hold its groups' scales.

    Args:
        scale: float (rows, groups), wanted.
        scale_bits: of a multiple.

    Returns:
        float16 (rows, 1): the largest scale divided by 2^scale_bits, rounded up to 11 - scale_bits significant bits.
    """
    import torch

    largest = scale.float().clamp(SMALLEST, LARGEST_OF_MULTIPLES).amax(1, keepdim=True)
    return _to_few_digits(largest / 2**scale_bits, scale_bits, torch.ceil)


def scaled_rows(row_scale: Tensor, times: Tensor, wanted: Tensor, scale_bits: int) -> Tensor:
    """Return the rows' scales after all scales of a row were multiplied by one factor.

    Args:
        row_scale: float16 (rows, 1), before.
        times: float (rows, 1), positive.
        wanted: float (rows, groups), the scales after it.
        scale_bits: of a multiple.

    Returns:
        float16 (rows, 1), the nearest of 11 - scale_bits significant bits that reaches the largest scale.
    """
    import torch

    smallest, largest = SMALLEST / 2**scale_bits, LARGEST_OF_MULTIPLES / 2**scale_bits
    moved = (row_scale.float() * times).clamp(smallest, largest)
    nearest = _to_few_digits(moved, scale_bits, torch.round)
    reaches = wanted.amax(1, keepdim=True) <= (2**scale_bits + 0.5) * nearest.float()
    return torch.where(reaches, nearest, _to_few_digits(moved, scale_bits, torch.ceil))


def _to_few_digits(value: Tensor, scale_bits: int, rounding: Callable[[Tensor], Tensor]) -> Tensor:
    """Round positive float32 numbers to 11 - scale_bits significant bits, as FP16."""
    import torch

    fraction, exponent = torch.frexp(value)
    digits = 2.0 ** (SIGNIFICANT_BITS - scale_bits)
    rounded = torch.ldexp(rounding(fraction * digits) / digits, exponent)
    # Below the normal numbers FP16 has whole multiples of 2^-24 only.
    return (rounding(rounded * 2**24) / 2**24).half()


def storable(scale: Tensor, row_scale: Tensor | None, scale_bits: int, cover: bool = False) -> Tensor:
    """Return the nearest scales that a file can hold.

    Args:
        scale: float (rows, groups), wanted.
        row_scale: float16 (rows, 1), as `row_scales` chose it; None where each group has an FP16 number of its own.
        scale_bits: of a multiple; not used without `row_scale`.
        cover: take the next larger multiple instead of the nearest, so that a range stays covered.

    Returns:
        float16 (rows, groups), none of them below the smallest normal FP16 number.
    """
    import torch

    if row_scale is None:
        return scale.float().clamp(SMALLEST, LARGEST).half()
    unit = row_scale.float()
    wanted = scale.float() / unit
    # A thousandth is no reason to go up: the scale itself may have been rounded.
    multiple = torch.ceil(wanted - 1e-3) if cover else torch.round(wanted)
    fewest = torch.ceil(SMALLEST / unit).clamp(min=1)
    return (multiple.clamp(max=2.0**scale_bits).maximum(fewest) * unit).half()


def multiples(scale: Tensor, row_scale: Tensor) -> Tensor:
    """Return the multiples that scales from `storable` are of their row's, less one: uint8 (rows, groups)."""
    import torch

    return (torch.round(scale.float() / row_scale.float()) - 1).to(torch.uint8)
