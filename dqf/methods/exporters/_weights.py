"""An artifact's weights as plain numpy arrays: integer codes where it has them, float32 elsewhere."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.artifacts import PARTS, Artifact
from dqf.quant.packing import unpack

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_IN_BLOCK = re.compile(r"(?P<stack>.+?)\.(?P<index>\d+)\.(?P<layer>.+)\.weight")


@dataclass
class Coded:
    """A weight as codes: (codes - zero_point) * scale, divided by `input_scale` column by column.

    Attributes:
        codes: uint8 (rows, columns).
        scale: float32 (rows, groups), FP16 values as stored.
        zero_point: uint8 (rows, groups), also where the artifact stores none (symmetric weights).
        bits: per code.
        input_scale: float32 (columns,) that divides the layer's input, None where there is none.
    """

    codes: U8
    scale: F32
    zero_point: U8
    bits: int
    input_scale: F32 | None = None

    @property
    def width(self) -> int:
        """Weights of a row that share a scale."""
        return int(self.codes.shape[1] // self.scale.shape[1])

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is the middle code."""
        return bool((self.zero_point == 2 ** (self.bits - 1)).all())

    def regroup(self, width: int) -> None:
        """Cut the groups into smaller ones of `width` weights that repeat their scale: nothing is rounded."""
        times = self.width // width
        if times > 1:
            self.scale = np.repeat(self.scale, times, axis=1)
            self.zero_point = np.repeat(self.zero_point, times, axis=1)

    def shifted(self) -> NDArray[np.int16]:
        """Return codes minus zero points, int16 (rows, groups, width)."""
        rows, groups = self.scale.shape
        codes = self.codes.reshape(rows, groups, -1).astype(np.int16)
        return codes - self.zero_point.astype(np.int16)[:, :, None]

    def dense(self) -> F32:
        """Return the float32 (rows, columns) matrix, as it acts on the layer's own input."""
        weight = (self.shifted().astype(np.float32) * self.scale[:, :, None]).reshape(self.codes.shape)
        return np.asarray(weight if self.input_scale is None else weight / self.input_scale, dtype=np.float32)


@dataclass
class Weights:
    """All weights of an artifact; exporters change them in place.

    Attributes:
        coded: quantized weights by parameter name.
        dense: all others, float32.
        config: content of `config.json`.
        notes: sentences on what an exporter had to change.
    """

    coded: dict[str, Coded]
    dense: dict[str, F32]
    config: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def multiply_out(self, name: str) -> F32:
        """Turn a coded weight into a dense one and return it; a dense one stays."""
        if name in self.coded:
            self.dense[name] = self.coded.pop(name).dense()
        return self.dense[name]

    def all_dense(self) -> dict[str, F32]:
        """Return every weight as float32."""
        return {**self.dense, **{name: one.dense() for name, one in self.coded.items()}}


def read_weights(artifact: Artifact) -> Weights:
    """Read an artifact's weight file and config."""
    stored = artifact.tensors()
    coded = {}
    for name, packed in artifact.packed.items():
        (rows, columns), groups = packed.shape, packed.groups
        if packed.symmetric:
            zero_point = np.full((rows, groups), 2 ** (packed.bits - 1), dtype=np.uint8)
        else:
            zero_point = unpack(stored[f"{name}.zero_point"], packed.bits, rows * groups).reshape(rows, groups)
        input_scale = stored[f"{name}.input_scale"].astype(np.float32) if packed.input_scale else None
        coded[name] = Coded(
            unpack(stored[f"{name}.codes"], packed.bits, rows * columns).reshape(rows, columns),
            stored[f"{name}.scale"].astype(np.float32),
            zero_point,
            packed.bits,
            input_scale,
        )
    inside = {f"{name}.{part}" for name in artifact.packed for part in PARTS}
    dense = {name: tensor.astype(np.float32) for name, tensor in stored.items() if name not in inside}
    return Weights(coded, dense, read_config(artifact))


def read_config(artifact: Artifact) -> dict[str, Any]:
    """Return the content of an artifact's `config.json`."""
    config: dict[str, Any] = json.loads((artifact.folder / "config.json").read_text(encoding="utf-8"))
    return config


def in_blocks(names: Iterable[str]) -> list[str]:
    """Return the names that belong to a transformer block (`model.layers.3.mlp.up_proj.weight`)."""
    return [name for name in names if _IN_BLOCK.fullmatch(name)]


def block_parts(name: str) -> tuple[str, str]:
    """Return stack and place in the block of a name that `in_blocks` returned."""
    match = _IN_BLOCK.fullmatch(name)
    if match is None:
        raise ValueError(f"a name must belong to a transformer block: got {name}")
    return match["stack"], match["layer"]


def common_width(widths: Iterable[int], allowed: Sequence[int]) -> int:
    """Return the largest allowed group width that divides all of `widths`; 0 if there is none."""
    shared = math.gcd(*widths)
    return max((width for width in allowed if shared % width == 0), default=0)


def half(weight: F32) -> NDArray[np.float16]:
    """Round to FP16.

    Raises:
        OverflowError: a value is too large for FP16.
    """
    rounded = weight.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise OverflowError("a weight is too large for FP16")
    return rounded
