"""torch modules whose weights stay packed in memory.

A linear layer of 4, 3 or 2 bits runs on torch's own 4-bit kernel where there is one for it (CPU, BF16); any other
is expanded when it is called. Of a table only the rows looked up are expanded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dqf.artifacts import PARTS, Packed


class PackedWeight(nn.Module):
    """A packed matrix: codes uint8 (dense), scale FP16 (rows, groups), zero_point uint8 (rows, groups).

    Zero points are few and needed at every call: they are unpacked once. `input_scale` FP16 (columns,) divides the
    layer's input; it is empty where there is none.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    input_scale: Tensor

    def __init__(self, packed: Packed, parts: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.packed = packed
        for part in PARTS:
            tensor = parts.get(part, torch.empty(0, dtype=torch.uint8))
            # FP16 values are held as bits, or `model.to(dtype)` would round them.
            self.register_buffer(part, tensor.view(torch.int16) if tensor.dtype == torch.float16 else tensor)
        if not packed.symmetric:
            rows, groups = packed.shape[0], packed.groups
            self.zero_point = unpack_tensor(self.zero_point, packed.bits, rows * groups).view(rows, groups)

    def expand(self, dtype: torch.dtype, rows: Tensor | None = None) -> Tensor:
        """Return the (rows, columns) matrix in `dtype`, or only the rows with the given int64 (n,) numbers."""
        codes, scale, zero_point = self.parts(rows)
        weight = ((codes.float() - zero_point.unsqueeze(-1)) * scale.unsqueeze(-1)).flatten(1)
        return (weight / self.input_scale.view(torch.float16).float() if self.packed.input_scale else weight).to(dtype)

    def parts(self, rows: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes uint8 (rows, groups, width), scale and zero_point float32 (rows, groups)."""
        (count, columns), groups, bits = self.packed.shape, self.packed.groups, self.packed.bits
        codes, scale = self.codes, self.scale.view(torch.float16)
        zero_point = torch.full(scale.shape, 2 ** (bits - 1)) if self.packed.symmetric else self.zero_point
        if rows is not None:
            scale, zero_point = scale[rows], zero_point.to(scale.device)[rows]
            if columns % 8 == 0:  # then every row begins with a byte, at any width
                codes = codes.view(count, -1)[rows].flatten()
            else:
                codes = unpack_tensor(codes, bits, count * columns).view(count, columns)[rows].flatten()
                return codes.view(len(rows), groups, -1), scale.float(), zero_point.float()
            count = len(rows)
        unpacked = unpack_tensor(codes, bits, count * columns).view(count, groups, -1)
        return unpacked, scale.float(), zero_point.to(scale.device).float()


class PackedLinear(nn.Module):
    """Linear layer over a packed weight."""

    def __init__(self, weight: PackedWeight, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.packed_weight = weight
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b."""
        return functional.linear(x, self.packed_weight.expand(x.dtype), self.bias)


class Int4Linear(nn.Module):
    """Linear layer on torch's 4-bit CPU kernel, in BF16; codes of 3 and 2 bits are widened to 4.

    The kernel computes (code - 8) * scale + zero. Codes are shifted so that their middle is 8, and zero is
    (middle - zero_point) * scale; both are rounded to BF16, which moves a weight by less than 2 % of a step.
    """

    codes: Tensor
    scales_and_zeros: Tensor
    inverse_input_scale: Tensor

    def __init__(self, weight: PackedWeight, bias: nn.Parameter | None) -> None:
        super().__init__()
        packed = weight.packed
        codes, scale, zero_point = weight.parts()
        middle = 2 ** (packed.bits - 1)
        whole = codes.reshape(packed.shape).int() + (8 - middle)
        pairs = torch.stack([scale, (middle - zero_point) * scale], -1).transpose(0, 1).contiguous()
        self.group_size = packed.shape[1] // packed.groups
        self.rows = packed.shape[0]
        self.divides_input = packed.input_scale
        self.register_buffer("codes", torch.ops.aten._convert_weight_to_int4pack_for_cpu(whole, 1))
        self.register_buffer("scales_and_zeros", pairs.bfloat16())
        inverse = 1 / weight.input_scale.view(torch.float16).float() if packed.input_scale else torch.empty(0)
        self.register_buffer("inverse_input_scale", inverse)
        self.bias = bias

    @staticmethod
    def fits(packed: Packed) -> bool:
        """Tell whether the kernel can take such a weight."""
        width = packed.shape[1] // packed.groups
        there = hasattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu")
        return there and packed.bits <= 4 and width in (32, 64, 128, 256) and packed.shape[0] % 16 == 0

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b."""
        flat = x.reshape(-1, x.shape[-1])
        if self.divides_input:
            flat = flat * self.inverse_input_scale
        product = torch.ops.aten._weight_int4pack_mm_for_cpu(
            flat.bfloat16().contiguous(), self.codes, self.group_size, self.scales_and_zeros
        )
        result = product.view(*x.shape[:-1], self.rows).to(x.dtype)
        return result if self.bias is None else result + self.bias


class PackedEmbedding(nn.Module):
    """Embedding table over a packed weight; only the rows looked up are expanded."""

    def __init__(self, weight: PackedWeight) -> None:
        super().__init__()
        self.packed_weight = weight
        # Decides the dtype of what is looked up; follows `model.to(dtype)`.
        self.register_buffer("dtype_of", torch.zeros(1), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of the table."""
        found, places = torch.unique(ids, return_inverse=True)
        return functional.embedding(places, self.packed_weight.expand(self.get_buffer("dtype_of").dtype, found))


def pack_modules(
    model: nn.Module, packed: Mapping[str, Packed], stored: Mapping[str, NDArray[Any]], kernels: bool = False
) -> None:
    """Replace the quantized layers of a model by packed ones, in place.

    Args:
        model: the architecture.
        packed: quantized weights by parameter name.
        stored: tensors of the artifact.
        kernels: run linear layers on the 4-bit CPU kernel where they fit it; the model then computes in BF16.
    """
    for name, one in packed.items():
        path = name.removesuffix(".weight")
        module = model.get_submodule(path)
        parts = {part: torch.from_numpy(stored[f"{name}.{part}"]) for part in PARTS if f"{name}.{part}" in stored}
        weight = PackedWeight(one, parts)
        if isinstance(module, nn.Embedding):
            replacement: nn.Module = PackedEmbedding(weight)
        else:
            kind = Int4Linear if kernels and Int4Linear.fits(one) else PackedLinear
            replacement = kind(weight, module.get_parameter("bias") if module.bias is not None else None)
        parent, _, last = path.rpartition(".")
        setattr(model.get_submodule(parent), last, replacement)


def unpack_tensor(packed: Tensor, bits: int, count: int) -> Tensor:
    """Unpack a dense little-endian code stream (see `dqf.quant.packing`) on any device; uint8 (count,)."""
    if bits == 8:
        return packed[:count]
    if bits == 3:
        three = functional.pad(packed, (0, -len(packed) % 3)).view(-1, 3).int()
        word = three[:, 0] | (three[:, 1] << 8) | (three[:, 2] << 16)
        shifts = torch.arange(0, 24, 3, device=packed.device, dtype=torch.int32)
        return ((word[:, None] >> shifts) & 7).to(torch.uint8).view(-1)[:count]
    shifts = torch.arange(0, 8, bits, device=packed.device, dtype=torch.uint8)
    return ((packed[:, None] >> shifts) & (2**bits - 1)).view(-1)[:count]
