"""torch modules whose weights stay packed in memory and are expanded when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dqf.artifacts import PARTS, Packed


class PackedWeight(nn.Module):
    """A packed matrix: codes uint8 (dense), scale FP16 (rows, groups), zero_point uint8 (dense).

    `input_scale` FP16 (columns,) divides the layer's input; it is empty where there is none.
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

    def expand(self, dtype: torch.dtype) -> Tensor:
        """Return the (rows, columns) matrix in `dtype`."""
        rows, columns = self.packed.shape
        codes = unpack_tensor(self.codes, self.packed.bits, rows * columns).view(rows, self.packed.groups, -1)
        if self.packed.symmetric:
            shifted = codes.float() - 2 ** (self.packed.bits - 1)
        else:
            zero_point = unpack_tensor(self.zero_point, self.packed.bits, rows * self.packed.groups)
            shifted = codes.float() - zero_point.view(rows, self.packed.groups, 1).float()
        weight = (shifted * self.scale.view(torch.float16).float().unsqueeze(-1)).view(rows, columns)
        return (weight / self.input_scale.view(torch.float16).float() if self.packed.input_scale else weight).to(dtype)


class PackedLinear(nn.Module):
    """Linear layer over a packed weight."""

    def __init__(self, weight: PackedWeight, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.packed_weight = weight
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b."""
        return functional.linear(x, self.packed_weight.expand(x.dtype), self.bias)


class PackedEmbedding(nn.Module):
    """Embedding table over a packed weight; the rows looked up are expanded, once per call."""

    def __init__(self, weight: PackedWeight, padding_idx: int | None) -> None:
        super().__init__()
        self.packed_weight = weight
        self.padding_idx = padding_idx
        # Decides the dtype of what is looked up; follows `model.to(dtype)`.
        self.register_buffer("dtype_of", torch.zeros(1), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of the table."""
        dtype = self.get_buffer("dtype_of").dtype
        return functional.embedding(ids, self.packed_weight.expand(dtype), self.padding_idx)


def pack_modules(model: nn.Module, packed: Mapping[str, Packed], stored: Mapping[str, NDArray[Any]]) -> None:
    """Replace the quantized layers of a model by packed ones, in place.

    Args:
        model: the architecture.
        packed: quantized weights by parameter name.
        stored: tensors of the artifact.
    """
    for name, one in packed.items():
        path = name.removesuffix(".weight")
        module = model.get_submodule(path)
        parts = {part: torch.from_numpy(stored[f"{name}.{part}"]) for part in PARTS if f"{name}.{part}" in stored}
        weight = PackedWeight(one, parts)
        if isinstance(module, nn.Embedding):
            replacement: nn.Module = PackedEmbedding(weight, module.padding_idx)
        else:
            replacement = PackedLinear(weight, module.get_parameter("bias") if module.bias is not None else None)
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
