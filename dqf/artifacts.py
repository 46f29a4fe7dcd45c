"""The folder that ships: weights, tokenizer, topology and a manifest; read without torch.

```
model.safetensors   FP16 tensors; a quantized weight W is W.codes (packed), W.scale or, of few
                    bits, W.multiple (packed, less one) and W.row_scale, whose products are the
                    scales, W.zero_point (packed, asymmetric only), W.input_scale and W.int8_scale
                    (where the method has one, where its inputs were calibrated)
dqf.json            manifest: task, inputs, what is quantized how, SHA-256 of all but receipt and itself
config.json         transformers config
tokenizer.json      fast tokenizer
receipt.json        one row per quantized layer (quantized artifacts only)
graph.xml           OpenVINO topology; its large constants are read from model.safetensors
graph.bin           its small constants (shapes, rotary frequencies)
```
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from dqf.errors import UserError
from dqf.quant.packing import pack, packed_size_bytes, unpack
from dqf.quant.scales import FP16_BITS, multiples

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.qparams import QuantizedWeight

FORMAT = "dqf-artifact"
VERSION = 2
READABLE = (1, 2)
"""Version 1 knew FP16 scales only."""
WEIGHTS = "model.safetensors"
GRAPH_XML = "graph.xml"
GRAPH_BIN = "graph.bin"
MANIFEST = "dqf.json"
PARTS_READ = ("config.json", "tokenizer.json", GRAPH_XML)
"""What is no weight file and yet decides an answer."""
PARTS = ("codes", "scale", "zero_point", "input_scale", "int8_scale")


@dataclass(frozen=True)
class Packed:
    """How one weight is packed.

    Attributes:
        shape: (rows, columns).
        bits: per code.
        group_size: weights that share a scale; 0 for the whole row.
        symmetric: no zero points are stored.
        input_scale: the layer's input is divided by a stored vector first.
        int8_scale: a vector is stored that inputs are divided by before they are rounded to INT8, should
            the runtime compute in integers.
        scale_bits: of a group's scale; 16 for an FP16 number, fewer for a multiple of the row's.
    """

    shape: tuple[int, int]
    bits: int
    group_size: int
    symmetric: bool
    input_scale: bool = False
    int8_scale: bool = False
    scale_bits: int = FP16_BITS

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Packed:
        """Return it from the plain data of a manifest."""
        rows, columns = data["shape"]
        return cls(**{**data, "shape": (rows, columns)})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "shape": list(self.shape)}

    @property
    def has_row_scale(self) -> bool:
        """Whether scales are stored as multiples of their row's."""
        return self.scale_bits < FP16_BITS

    @property
    def groups(self) -> int:
        """Groups per row."""
        return self.shape[1] // self.group_size if self.group_size else 1

    @property
    def size_bytes(self) -> int:
        """Bytes of codes, scales, zero points and input scale."""
        count, groups = self.shape[0] * self.shape[1], self.shape[0] * self.groups
        scales = packed_size_bytes(groups, self.scale_bits) + 2 * self.shape[0] * self.has_row_scale
        zero_points = 0 if self.symmetric else packed_size_bytes(groups, self.bits)
        vectors = 2 * self.shape[1] * (self.input_scale + self.int8_scale)
        return packed_size_bytes(count, self.bits) + scales + zero_points + vectors


@dataclass(frozen=True)
class Artifact:
    """An artifact folder, opened for reading.

    Attributes:
        folder: where it lies.
        manifest: content of `dqf.json`.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @cached_property
    def packed(self) -> dict[str, Packed]:
        """Quantized weights by parameter name."""
        return {name: Packed.from_dict(one) for name, one in self.manifest["quantized"].items()}

    @cached_property
    def architecture(self) -> str:
        """The `model_type` of its `config.json`."""
        return str(json.loads((self.folder / "config.json").read_text(encoding="utf-8")).get("model_type", ""))

    @property
    def is_packed(self) -> bool:
        """Whether any weight is quantized."""
        return bool(self.packed)

    @property
    def has_int8_scales(self) -> bool:
        """Whether inputs were calibrated for computing in INT8."""
        return any(one.int8_scale for one in self.packed.values())

    @property
    def scale_bits(self) -> int | None:
        """Bits of a group's scale, those of most weights; None where nothing is quantized."""
        weights: Counter[int] = Counter()
        for one in self.packed.values():
            weights[one.scale_bits] += one.shape[0] * one.shape[1]
        return weights.most_common(1)[0][0] if weights else None

    @property
    def has_graph(self) -> bool:
        """Whether an OpenVINO topology came with it."""
        return (self.folder / GRAPH_XML).is_file()

    @property
    def size_bytes(self) -> int:
        """Bytes of the weight files that must ship."""
        return sum((self.folder / name).stat().st_size for name in self.manifest["files"])

    @property
    def tokenizer_bytes(self) -> int:
        """Bytes of the tokenizer, counted apart from the weights."""
        return (self.folder / "tokenizer.json").stat().st_size

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return all tensors of the weight file, as stored but that every scale is FP16 (rows, groups)."""
        stored = load_file(self.folder / WEIGHTS)
        for name, packed in self.packed.items():
            if packed.has_row_scale:
                row_scale, multiple = stored.pop(f"{name}.row_scale"), stored.pop(f"{name}.multiple")
                stored[f"{name}.scale"] = _scales(packed, row_scale, multiple)
        return stored

    def dense(self) -> dict[str, NDArray[np.float32]]:
        """Return all weights as float32, quantized ones expanded."""
        stored = self.tensors()
        weights = {name: dequantize(name, packed, stored) for name, packed in self.packed.items()}
        inside = {f"{name}.{part}" for name in self.packed for part in PARTS}
        for name, tensor in stored.items():
            if name not in inside:
                weights[name] = tensor.astype(np.float32)
        return weights


def _scales(packed: Packed, row_scale: NDArray[np.float16], multiple: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Return the scales that stored multiples stand for; the products are FP16 numbers (`dqf.quant.scales`)."""
    rows, groups = packed.shape[0], packed.groups
    times = unpack(multiple, packed.scale_bits, rows * groups).reshape(rows, groups).astype(np.float32) + 1
    return np.asarray(times * row_scale.astype(np.float32), dtype=np.float16)


def dequantize(name: str, packed: Packed, stored: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return the float32 (rows, columns) matrix of a packed weight, as it acts on the layer's own input."""
    weight = _from_codes(name, packed, stored)
    if packed.input_scale:
        weight /= stored[f"{name}.input_scale"].astype(np.float32)
    return weight


def _from_codes(name: str, packed: Packed, stored: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    rows, columns = packed.shape
    codes = unpack(stored[f"{name}.codes"], packed.bits, rows * columns).reshape(rows, packed.groups, -1)
    scale = stored[f"{name}.scale"].astype(np.float32)[:, :, None]
    if packed.symmetric:
        return ((codes.astype(np.float32) - 2 ** (packed.bits - 1)) * scale).reshape(rows, columns)
    zero_point = unpack(stored[f"{name}.zero_point"], packed.bits, rows * packed.groups)
    shifted = codes.astype(np.float32) - zero_point.reshape(rows, packed.groups, 1)
    return np.asarray(shifted * scale, dtype=np.float32).reshape(rows, columns)


def packed_tensors(name: str, weight: QuantizedWeight) -> tuple[Packed, dict[str, NDArray[Any]]]:
    """Return how one quantized weight is stored, and the tensors that store it."""
    rows, columns = weight.codes.shape
    bits, group_size = weight.granularity.bits, weight.granularity.group_size
    tensors: dict[str, NDArray[Any]] = {f"{name}.codes": pack(weight.codes.cpu().numpy(), bits)}
    if weight.row_scale is None:
        tensors[f"{name}.scale"] = weight.scale.cpu().numpy()
    else:
        tensors[f"{name}.row_scale"] = weight.row_scale.cpu().numpy()
        tensors[f"{name}.multiple"] = pack(multiples(weight.scale, weight.row_scale).cpu().numpy(), weight.scale_bits)
    if weight.zero_point is not None:
        tensors[f"{name}.zero_point"] = pack(weight.zero_point.cpu().numpy(), bits)
    if weight.input_scale is not None:
        tensors[f"{name}.input_scale"] = weight.input_scale.cpu().numpy()
    if weight.int8_scale is not None:
        tensors[f"{name}.int8_scale"] = weight.int8_scale.cpu().numpy()
    packed = Packed(
        (rows, columns),
        bits,
        group_size,
        symmetric=weight.zero_point is None,
        input_scale=weight.input_scale is not None,
        int8_scale=weight.int8_scale is not None,
        scale_bits=weight.scale_bits,
    )
    return packed, tensors


def save_weights(folder: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write the weight file."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / WEIGHTS)


def save_quantized(
    folder: Path, state: Mapping[str, Tensor], weights: Mapping[str, QuantizedWeight]
) -> dict[str, Packed]:
    """Write the weight file of a quantized model: packed where quantized, FP16 elsewhere.

    Args:
        folder: receives the file.
        state: state dict of the model, torch tensors.
        weights: quantized weights by parameter name.

    Returns:
        How each quantized weight is packed.
    """
    packed: dict[str, Packed] = {}
    tensors = {name: weight.cpu().numpy().astype(np.float16) for name, weight in state.items() if name not in weights}
    for name, one in weights.items():
        packed[name], parts = packed_tensors(name, one)
        tensors |= parts
    save_weights(folder, tensors)
    return packed


def expected_size_bytes(packed: Mapping[str, Packed], other_params: int) -> int:
    """Return the arithmetic: packed weights as above, everything else two bytes a parameter."""
    return sum(one.size_bytes for one in packed.values()) + 2 * other_params


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `dqf.json`, with the hashes of the weight files that are there, and of what belongs to them."""

    def hashes(names: Sequence[str]) -> dict[str, str]:
        return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}

    manifest = {
        "format": FORMAT,
        "version": VERSION,
        **content,
        "files": hashes((WEIGHTS, GRAPH_BIN)),
        "parts": hashes(PARTS_READ),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def open_artifact(folder: Path, *, check: bool = True) -> Artifact:
    """Open an artifact folder.

    Args:
        folder: where it lies.
        check: compare the files that a runtime reads with their recorded hashes.

    Raises:
        UserError: not an artifact of this version, or a file was altered or cut short.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"an artifact folder must hold a readable {MANIFEST}: {folder.name} does not.") from None
    if manifest.get("format") != FORMAT or manifest.get("version") not in READABLE:
        raise UserError(
            f"an artifact must be {FORMAT} version {' or '.join(map(str, READABLE))}: {folder.name} is "
            f"{manifest.get('format')} version {manifest.get('version')}; export it again."
        )
    if check:
        for name, expected in {**manifest["files"], **manifest.get("parts", {})}.items():
            path = folder / name
            found = sha256_of(path) if path.is_file() else "no such file"
            if found != expected:
                raise UserError(
                    f"a file must be as it was exported: {folder.name}/{name} has SHA-256 {found[:16]}, "
                    f"expected {expected[:16]}; export it again."
                )
    return Artifact(folder, manifest)
