"""Quantized weights that wait on disk: what mixed precision tries of every layer does not have to fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dqf.quant.qparams import QuantizedWeight

TENSORS = ("codes", "scale", "zero_point", "input_scale", "int8_scale", "row_scale")


class StoredWeights(Mapping[str, "QuantizedWeight"]):
    """Quantized weights by name, each in a file of its own, read when it is asked for.

    Args:
        folder: receives the files; whoever made it deletes it.
        weights: what to store.

    Raises:
        OSError: the disk is full.
    """

    def __init__(self, folder: Path, weights: Mapping[str, QuantizedWeight]) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True)
        self._places: dict[str, tuple[Path, QuantizedWeight]] = {}
        for at, (name, weight) in enumerate(weights.items()):
            tensors = {part: getattr(weight, part) for part in TENSORS if getattr(weight, part) is not None}
            path = folder / f"{at}.safetensors"
            save_file({part: tensor.contiguous() for part, tensor in tensors.items()}, path)
            empty = {part: tensor.new_empty(0) for part, tensor in tensors.items()}
            self._places[name] = (path, replace(weight, **empty))

    def __getitem__(self, name: str) -> QuantizedWeight:
        """Read one, on the device it was on."""
        from safetensors.torch import load_file

        path, empty = self._places[name]
        parts: dict[str, Any] = load_file(path, device=str(empty.codes.device))
        return replace(empty, **parts)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order they were given."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._places)
