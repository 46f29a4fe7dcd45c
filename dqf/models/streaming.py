"""A model folder whose transformer blocks are in memory only while they are worked on.

So a model can be quantized that does not fit: everything outside the blocks, one block in FP32, and the
calibration's hidden states are held, and what has become of the blocks before.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from dqf.errors import UserError
from dqf.models.loading import layer_stack

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"


class StreamedModel:
    """An FP32 model in evaluation mode, its blocks empty until they are entered.

    Attributes:
        folder: where the weights lie.
        model: the architecture; everything outside its blocks is loaded.

    Args:
        folder: config.json and safetensors, in one file or in several with an index.
        device: where to compute.
        kind: auto class of the architecture.

    Raises:
        UserError: a weight is missing.
    """

    folder: Path
    model: PreTrainedModel

    def __init__(self, folder: Path, device: torch.device, kind: Any = AutoModelForSequenceClassification) -> None:
        from accelerate import init_empty_weights

        self.folder = folder
        self._device = device
        self._files = _files(folder)
        with init_empty_weights(include_buffers=False):
            self.model = kind.from_config(
                AutoConfig.from_pretrained(folder), attn_implementation="eager", dtype=torch.float32
            )
        self.model.eval()
        self._prefix, self._stack = layer_stack(self.model)
        self._loaded = False
        inside = f"{self._prefix}."
        for name in [name for name, _ in self.model.named_parameters() if not name.startswith(inside)]:
            self._put(name, self.tensor(name))
        self.model.tie_weights()
        for name, buffer in self.model.named_buffers():
            parent, _, leaf = name.rpartition(".")
            self.model.get_submodule(parent)._buffers[leaf] = buffer.to(device)

    @contextlib.contextmanager
    def block(self, index: int) -> Iterator[None]:
        """Have a block in memory; what was changed in it is forgotten afterwards, unless all are loaded."""
        if self._loaded:
            yield
            return
        names = self._names_of(index)
        for name in names:
            self._put(name, self.tensor(name))
        try:
            yield
        finally:
            for name in names:
                self._put(name, torch.empty(self.model.get_parameter(name).shape, device="meta"))

    def load(self) -> None:
        """Have all blocks in memory from now on, as is needed where one forward pass runs them several times."""
        for index in range(len(self._stack)):
            for name in self._names_of(index):
                self._put(name, self.tensor(name))
        self._loaded = True

    def tensor(self, name: str) -> Tensor:
        """Return a tensor of the folder as it is stored, float32.

        Raises:
            UserError: the folder does not hold it.
        """
        file = self._files.get(name)
        if file is None:
            raise UserError(f"a model folder must hold all weights: {name} is missing; write the folder again.")
        with safe_open(file, "pt") as stored:
            return stored.get_tensor(name).to(self._device, torch.float32)

    def names(self) -> list[str]:
        """Return the names of all stored tensors."""
        return list(self._files)

    def _names_of(self, index: int) -> list[str]:
        return [f"{self._prefix}.{index}.{name}" for name, _ in self._stack[index].named_parameters()]

    def _put(self, name: str, tensor: Tensor) -> None:
        parent, _, leaf = name.rpartition(".")
        self.model.get_submodule(parent)._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)


def _files(folder: Path) -> dict[str, Path]:
    """Return which file holds which tensor."""
    if (folder / INDEX).is_file():
        places = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        return {name: folder / file for name, file in places.items()}
    with safe_open(folder / WEIGHTS, "pt") as stored:
        return dict.fromkeys(stored.keys(), folder / WEIGHTS)
