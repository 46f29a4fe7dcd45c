"""OpenVINO topology whose large constants stay in the safetensors file.

The traced model is converted once; every parameter's constant is replaced by the tensors that the
weight file really holds (packed codes, scales and zero points, or FP16 values) and named after
them. The IR is written without their bytes: the loader fills them in from the weight file. So the
file that is sized is the file that runs, whatever the runtime.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dqf.artifacts import GRAPH_BIN, GRAPH_XML, Artifact, Packed
from dqf.quant.packing import repack
from dqf.runtimes._ov import PREFIX, ops, ov, replace, serialize

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALIGNMENT = 64


def graph_bits(bits: int) -> int:
    """Return the code width used in the graph: 3- and 2-bit codes are widened to 4 bits at load."""
    return 8 if bits == 8 else 4


def export_graph(model: PreTrainedModel, inputs: list[str], packed: Mapping[str, Packed], folder: Path) -> None:
    """Write `graph.xml` and `graph.bin` for a model into its artifact folder.

    Args:
        model: FP32 classifier holding the dequantized weights.
        inputs: names of its inputs, in order.
        packed: which weights are packed, and how.
        folder: receives the files.

    Raises:
        RuntimeError: OpenVINO cannot convert this model, or a parameter was not found in the result.
    """
    from dqf.runtimes._conversion import graph_without_weights  # needs torch, which serving does without

    graph = graph_without_weights(model, inputs)
    weights = {f"{PREFIX}{name}": weight for name, weight in model.named_parameters()}
    keep: list[Any] = []
    for node in graph.get_parameters():
        weight = weights.get(node.get_friendly_name())
        if weight is None:
            continue
        name = node.get_friendly_name().removeprefix(PREFIX)
        if name in packed:
            replacement = _packed_constant(name, packed[name], keep)
        else:
            shape = list(node.get_output_shape(0))  # a conversion may add dimensions of one
            replacement = _half_constant(name, weight.detach().numpy().astype(np.float16).reshape(shape), keep)
        replace(node, replacement)
        graph.remove_parameter(node)
        if name in packed and packed[name].input_scale:
            _divide_input(name, packed[name], replacement, keep)
    graph.validate_nodes_and_infer_types()
    _write(graph, folder)


def read_graph(artifact: Artifact) -> ov.Model:
    """Return the OpenVINO model of an artifact, its constants filled in from the weight file."""
    tree = ElementTree.parse(artifact.folder / GRAPH_XML)  # noqa: S314 - see the import
    layers = [layer for layer in tree.getroot().iter("layer") if layer.get("type") == "Const"]
    data = [(layer, layer.find("data")) for layer in layers]
    size = max(int(d.get("offset", 0)) + int(d.get("size", 0)) for _, d in data if d is not None)
    blob = np.zeros(size, dtype=np.uint8)
    small = np.fromfile(artifact.folder / GRAPH_BIN, dtype=np.uint8)
    blob[: small.size] = small
    stored = artifact.tensors()
    for layer, facts in data:
        name = layer.get("name", "")
        if facts is None or not name.startswith(PREFIX):
            continue
        offset, length = int(facts.get("offset", 0)), int(facts.get("size", 0))
        blob[offset : offset + length] = _bytes_for(name.removeprefix(PREFIX), stored, artifact.packed)
    return ov.Core().read_model(ElementTree.tostring(tree.getroot()), ov.Tensor(blob))


def packed_nodes(graph: ov.Model, artifact: Artifact) -> Iterator[tuple[str, Packed, Any]]:
    """Yield each packed weight that its artifact's graph uses: name, how it is packed, and the node of its codes."""
    nodes = {node.get_friendly_name(): node for node in graph.get_ordered_ops()}
    for name, packed in artifact.packed.items():
        codes = nodes.get(f"{PREFIX}{name}.codes")
        if codes is not None:
            yield name, packed, codes


def _bytes_for(tensor: str, stored: Mapping[str, NDArray[Any]], packed: Mapping[str, Packed]) -> NDArray[np.uint8]:
    name, _, part = tensor.rpartition(".")
    one = packed.get(name)
    if one is None or part in ("scale", "input_scale"):
        return stored[tensor].reshape(-1).view(np.uint8)
    rows, columns = one.shape
    count = rows * columns if part == "codes" else rows * one.groups
    return repack(stored[tensor].reshape(-1), one.bits, graph_bits(one.bits), count)


def _constant(name: str, element: ov.Type, shape: list[int], data: NDArray[Any], keep: list[Any]) -> Any:
    """Return a named constant. OpenVINO does not copy: `keep` must outlive the graph."""
    tensor = ov.Tensor(element, shape)
    view = tensor.data.reshape(-1).view(np.uint8)
    view[:] = data.reshape(-1).view(np.uint8)
    keep.append(tensor)
    constant = ops.constant(tensor)
    constant.set_friendly_name(f"{PREFIX}{name}")
    return constant


def _half_constant(name: str, data: NDArray[np.float16], keep: list[Any]) -> Any:
    return ops.convert(_constant(name, ov.Type.f16, list(data.shape), data, keep), "f32")


def _packed_constant(name: str, packed: Packed, keep: list[Any]) -> Any:
    """Return (codes - zero point) * scale as a subgraph that OpenVINO runs on packed weights."""
    bits = graph_bits(packed.bits)
    element = ov.Type.u8 if bits == 8 else ov.Type.u4
    rows, columns = packed.shape
    grouped = [rows, packed.groups, columns // packed.groups]
    per_group = [rows, packed.groups, 1]

    def blank(shape: list[int]) -> NDArray[np.uint8]:
        # The bytes are filled in at load; until then they must differ, or equal constants would be merged.
        return np.random.default_rng(len(keep)).integers(0, 255, -(-int(np.prod(shape)) * bits // 8), dtype=np.uint8)

    codes = _constant(f"{name}.codes", element, grouped, blank(grouped), keep)
    scale_values = np.random.default_rng(len(keep)).random(rows * packed.groups).astype(np.float16)
    scale = _constant(f"{name}.scale", ov.Type.f16, per_group, scale_values, keep)
    if packed.symmetric:
        middle = np.array([2 ** (packed.bits - 1)], dtype=np.uint8)
        zero_point = ops.constant(middle)
    else:
        zero_point = _constant(f"{name}.zero_point", element, per_group, blank(per_group), keep)
    shifted = ops.subtract(ops.convert(codes, "f16"), ops.convert(zero_point, "f16"))
    values = ops.multiply(shifted, scale)
    if packed.groups > 1 or len(grouped) != 2:
        values = ops.reshape(values, ops.constant(np.array([rows, columns])), False)
    return ops.convert(values, "f32")


def _divide_input(name: str, packed: Packed, weight: Any, keep: list[Any]) -> None:
    """Divide what meets a weight by its input scale, in front of the matrix product."""
    values = np.random.default_rng(len(keep)).random(packed.shape[1]).astype(np.float16) + np.float16(1)
    scale = ops.convert(_constant(f"{name}.input_scale", ov.Type.f16, [packed.shape[1]], values, keep), "f32")
    for target in weight.output(0).get_target_inputs():
        product = target.get_node()
        if product.get_type_name() != "MatMul":
            raise RuntimeError(f"{name} has an input scale but meets a {product.get_type_name()}")
        product.input(0).replace_source_output(ops.divide(product.input_value(0), scale).output(0))


def _write(graph: ov.Model, folder: Path) -> None:
    """Write the IR; give each named constant a place behind the small ones, and drop its bytes."""
    whole = folder / "whole.xml"
    serialize(graph, whole)
    tree = ElementTree.parse(whole)  # noqa: S314 - written one line above
    content = whole.with_suffix(".bin").read_bytes()
    small = bytearray()
    placed: dict[tuple[int, int], int] = {}
    named = []
    for layer in tree.getroot().iter("layer"):
        facts = layer.find("data")
        if layer.get("type") != "Const" or facts is None:
            continue
        if str(layer.get("name")).startswith(PREFIX):
            named.append(facts)
            continue
        place = int(facts.get("offset", 0)), int(facts.get("size", 0))
        if place not in placed:
            small.extend(b"\0" * (-len(small) % ALIGNMENT))
            placed[place] = len(small)
            small.extend(content[place[0] : place[0] + place[1]])
        facts.set("offset", str(placed[place]))
    at = len(small)
    for facts in named:
        at += -at % ALIGNMENT
        facts.set("offset", str(at))
        at += int(facts.get("size", 0))
    (folder / GRAPH_BIN).write_bytes(bytes(small))
    tree.write(folder / GRAPH_XML)
    whole.unlink()
    whole.with_suffix(".bin").unlink()
