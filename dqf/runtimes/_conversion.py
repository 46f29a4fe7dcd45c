"""A model as an OpenVINO graph whose weights are inputs, so that one conversion serves all variants of a student.

Tracing and converting a model takes seconds, and Student-FT, Student-KD and everything quantized from them are the same
network. Parameters become constants in the conversion, matrices under their names, most vectors without: so that each
can be told from the others by its values, vectors are filled with random numbers meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from dqf.runtimes._ov import PREFIX, ops, ov, replace, serialize

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LARGEST_FOLDED = 4096
"""Elements of a parameter that may have been computed into another constant."""
_last: dict[tuple[str, ...], tuple[bytes, bytes]] = {}
"""The network converted last: its graph's XML and constants, by what makes a network."""


def graph_without_weights(model: PreTrainedModel, inputs: Sequence[str]) -> ov.Model:
    """Return the graph of a model; each parameter is an input named `tensor:` and the parameter's name.

    Args:
        model: FP32 classifier.
        inputs: names of its inputs, in order: int64 (rows, length) each.

    Raises:
        RuntimeError: OpenVINO cannot convert this model, or a large parameter was not found in the result.
    """
    config = {**model.config.to_dict(), "_name_or_path": ""}  # where a network lies does not change it
    shapes = {name: list(weight.shape) for name, weight in model.named_parameters()}
    buffers = [(name, hashlib.sha256(held.numpy().tobytes()).hexdigest()) for name, held in model.named_buffers()]
    network = (type(model).__qualname__, json.dumps([config, shapes, buffers], sort_keys=True, default=str), *inputs)
    if network not in _last:
        with _vectors_told_apart(model):
            graph = _convert(model, inputs)
            folded = _make_weights_inputs(graph, model)
        if _used(model, folded, inputs):
            # Something was computed of these vectors: only what they really hold may be in it, for this model alone.
            return _graph_of_this_model(model, inputs)
        _last.clear()
        _last[network] = _dump(graph)
    xml, constants = _last[network]
    return ov.Core().read_model(xml, ov.Tensor(np.frombuffer(constants, dtype=np.uint8)))


def _graph_of_this_model(model: PreTrainedModel, inputs: Sequence[str]) -> ov.Model:
    graph = _convert(model, inputs)
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    large = [name for name in _make_weights_inputs(graph, model) if sizes[name] > LARGEST_FOLDED]
    missing = _used(model, large, inputs)
    if missing:
        raise RuntimeError(f"{missing[0]} was not found in the converted graph")
    return graph


@contextmanager
def _vectors_told_apart(model: PreTrainedModel) -> Iterator[None]:
    """Fill vectors with random numbers, and put back at the end what they held."""
    generator = torch.Generator().manual_seed(0)
    vectors = [weight.data for weight in model.parameters() if weight.dim() < 2]
    held = [vector.clone() for vector in vectors]
    try:
        for vector in vectors:
            vector.copy_(torch.rand(vector.shape, generator=generator) + 1)
        yield
    finally:
        for vector, values in zip(vectors, held, strict=True):
            vector.copy_(values)


def _make_weights_inputs(graph: ov.Model, model: PreTrainedModel) -> list[str]:
    """Put an input in the place of each parameter's constant; return the parameters that have none."""
    named = {f"self.model.{name}": name for name, _ in model.named_parameters()}
    by_content = {weight.detach().numpy().tobytes(): name for name, weight in model.named_parameters()}
    made: dict[str, Any] = {}
    for node in graph.get_ops():
        if node.get_type_name() != "Constant":
            continue
        name = named.get(node.get_friendly_name())
        if name is None and node.get_element_type() == ov.Type.f32 and node.data.size > 1:
            name = by_content.get(np.ascontiguousarray(node.data).tobytes())
        if name is None:
            continue
        if name not in made:
            made[name] = ops.parameter(list(node.get_output_shape(0)), ov.Type.f32)
            made[name].set_friendly_name(f"{PREFIX}{name}")
        replace(node, made[name])
    graph.add_parameters(list(made.values()))
    return [name for name in named.values() if name not in made]


def _used(model: PreTrainedModel, names: Sequence[str], inputs: Sequence[str]) -> list[str]:
    """Return which of these parameters the logits depend on."""
    weights = {name: weight for name, weight in model.named_parameters() if name in names}
    if not weights:
        return []
    frozen = [weight for weight in weights.values() if not weight.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        with torch.enable_grad():
            logits = model(**_example(model, inputs)).logits
            gradients = torch.autograd.grad(logits.sum(), list(weights.values()), allow_unused=True)
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
    return [name for name, gradient in zip(weights, gradients, strict=True) if gradient is not None]


def _example(model: PreTrainedModel, inputs: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return inputs, one row of them padded, so that the traced code takes the path that looks for padding."""
    pad = int(model.config.pad_token_id)
    example = {name: torch.zeros(2, 9, dtype=torch.long) for name in inputs}
    example["input_ids"] = torch.full((2, 9), 1 if pad == 0 else 0)
    example["attention_mask"] = torch.ones(2, 9, dtype=torch.long)
    example["input_ids"][1, 6:] = pad
    example["attention_mask"][1, 6:] = 0
    return example


def _convert(model: PreTrainedModel, inputs: Sequence[str]) -> ov.Model:
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: TID251 - after `_ov`

    class Logits(nn.Module):
        """Takes the inputs by position, returns the logits only."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return self.model(**dict(zip(inputs, tensors, strict=True))).logits

    example = _example(model, inputs)
    previous = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            decoder = TorchScriptPythonDecoder(
                Logits().eval(),
                example_input=tuple(example[name] for name in inputs),
                trace_kwargs={"check_trace": False},  # three more passes; every artifact's logits are compared anyway
            )
            graph = ov.convert_model(decoder, input=[(ov.PartialShape([-1, -1]), ov.Type.i64) for _ in inputs])
    finally:
        model.set_attn_implementation(previous)
    for port, name in zip(graph.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    return graph


def _dump(graph: ov.Model) -> tuple[bytes, bytes]:
    """Return a graph as XML and constants: unlike the graph itself they share no memory with the model."""
    graph.validate_nodes_and_infer_types()
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "graph.xml"
        serialize(graph, xml)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()
