"""Put an artifact's tensors into a traced ONNX graph, codes as MatMulNBits and GatherBlockQuantized.

Groups whose width is no power of two are cut into ones that are, with the same scale, so nothing is
rounded; 3-bit codes take 4 bits. FP16 values stay FP16 in the file and are cast when it is loaded.

Reference: ONNX Runtime's contributed operators `MatMulNBits` and `GatherBlockQuantized`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dqf.methods.exporters._weights import Coded, Weights, common_width, half
from dqf.quant.packing import pack

if TYPE_CHECKING:
    import onnx

DOMAIN = "com.microsoft"
PREFIX = "model."
WIDTHS = (16, 32, 64, 128, 256)
"""Group sizes that the operators know."""


class Rewriter:
    """Puts an artifact's tensors into a traced graph."""

    def __init__(self, model: onnx.ModelProto, weights: Weights, accuracy_level: int) -> None:
        self._graph = model.graph
        self._weights = weights
        self._accuracy_level = accuracy_level
        self._initializers: dict[str, Any] = {}
        self._casts: dict[str, Any] = {}
        # By what is divided and by what: place of the first reader, and the node.
        self._divisions: dict[tuple[str, bytes], tuple[int, Any]] = {}
        self._replaced: set[str] = set()
        self._readers: dict[str, list[Any]] = {}
        self._places: dict[str, int] = {}
        for place, node in enumerate(self._graph.node):
            self._places[node.output[0]] = place
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def run(self) -> None:
        """Replace every initializer that the artifact has a tensor for."""
        kept = []
        dense = 0
        for initializer in self._graph.initializer:
            name = initializer.name.removeprefix(PREFIX)
            coded = self._weights.coded.get(name)
            if coded is not None and not self._replace_coded(initializer.name, coded):
                dense += 1
                self._add_half(initializer.name, coded.dense())
            elif coded is None and name in self._weights.dense:
                self._add_half(initializer.name, self._weights.dense[name])
            elif coded is None:
                kept.append(initializer)
        if dense:
            self._weights.notes.append(f"{dense} weights are FP16: their shape or use has no place for codes.")
        nodes = list(self._casts.values())
        divisions = sorted(self._divisions.values(), key=lambda pair: -pair[0])
        for place, node in enumerate(self._graph.node):
            while divisions and divisions[-1][0] == place:
                nodes.append(divisions.pop()[1])
            if not (node.op_type == "Transpose" and node.input[0] in self._replaced):
                nodes.append(node)
        initializers = [*kept, *self._initializers.values()]
        for field, content in ((self._graph.node, nodes), (self._graph.initializer, initializers)):
            copies = [type(one).FromString(one.SerializeToString()) for one in content]
            del field[:]
            field.extend(copies)
        del self._graph.value_info[:]

    def _replace_coded(self, name: str, coded: Coded) -> bool:
        """Let every reader of a weight read its codes; return False if one cannot."""
        width = common_width([coded.width], WIDTHS)
        plans = [self._plan(node, name, coded) for node in self._readers.get(name, [])]
        known = [plan for plan in plans if plan is not None]
        if not width or len(known) < len(plans):
            return False
        coded.regroup(width)
        self._replaced.add(name)
        for kind, node in known:
            (self._gather if kind == "Gather" else self._product)(node, name, coded)
        return True

    def _plan(self, node: Any, name: str, coded: Coded) -> tuple[str, Any] | None:
        """Return what to replace for one reader: a Gather, a MatMul behind a Transpose, or a Gemm."""
        if node.op_type == "Gather" and node.input[0] == name and coded.input_scale is None:
            return "Gather", node
        if node.op_type == "Gemm" and node.input[1] == name:
            attributes = {one.name: one for one in node.attribute}
            plain = all(attributes[key].f == 1.0 for key in ("alpha", "beta") if key in attributes)
            return ("Gemm", node) if plain and "transB" in attributes and attributes["transB"].i == 1 else None
        if node.op_type == "Transpose":
            products = self._readers.get(node.output[0], [])
            if len(products) == 1 and products[0].op_type == "MatMul" and products[0].input[1] == node.output[0]:
                return "MatMul", products[0]
        return None

    def _gather(self, node: Any, name: str, coded: Coded) -> None:
        """Turn a Gather into a GatherBlockQuantized."""
        bits = _stored_bits(coded)
        rows, columns = coded.codes.shape
        codes = self._add(f"{name}.codes", pack(coded.codes, bits).reshape(rows, columns * bits // 8))
        inputs = [codes, node.input[1], self._scales(name, coded), *self._zero_points(name, coded, bits)]
        attributes = {"bits": bits, "block_size": coded.width, "gather_axis": 0, "quantize_axis": 1}
        self._become(node, "GatherBlockQuantized", inputs, attributes)

    def _product(self, node: Any, name: str, coded: Coded) -> None:
        """Turn a MatMul or Gemm into a MatMulNBits."""
        bits = _stored_bits(coded)
        rows, columns = coded.codes.shape
        groups = columns // coded.width
        codes = self._add(f"{name}.codes", pack(coded.codes, bits).reshape(rows, groups, coded.width * bits // 8))
        source = node.input[0]
        if coded.input_scale is not None:
            source = self._divide(node, name, coded.input_scale)
        inputs = [source, codes, self._scales(name, coded), *self._zero_points(name, coded, bits)]
        attributes = {
            "K": columns,
            "N": rows,
            "bits": bits,
            "block_size": coded.width,
            "accuracy_level": self._accuracy_level,
        }
        if node.op_type == "Gemm" and len(node.input) > 2:
            inputs += [""] * (5 - len(inputs)) + [node.input[2]]
        self._become(node, "MatMulNBits", inputs, attributes)

    def _divide(self, node: Any, name: str, scale: NDArray[np.float32]) -> str:
        """Return what a layer reads, divided by its input scale; layers that share both share the division."""
        import onnx

        key, place = (node.input[0], scale.tobytes()), self._places[node.output[0]]
        if key in self._divisions:
            first, division = self._divisions[key]
            self._divisions[key] = min(first, place), division
        else:
            divisor = self._add_half(f"{name}.input_scale", scale)
            division = onnx.helper.make_node("Div", [node.input[0], divisor], [f"{name}.divided"])
            self._divisions[key] = place, division
        return str(division.output[0])

    def _scales(self, name: str, coded: Coded) -> str:
        return self._add_half(f"{name}.scales", coded.scale)

    def _zero_points(self, name: str, coded: Coded, bits: int) -> list[str]:
        """Return the zero points' name, nothing where all are the operators' default."""
        if (coded.zero_point == 2 ** (bits - 1)).all():
            return []
        rows, groups = coded.zero_point.shape
        per_byte = 8 // bits
        padded = np.zeros((rows, -(-groups // per_byte) * per_byte), dtype=np.uint8)
        padded[:, :groups] = coded.zero_point
        return [self._add(f"{name}.zero_points", pack(padded, bits).reshape(rows, -1))]

    def _add_half(self, name: str, values: NDArray[np.float32]) -> str:
        """Add FP16 values that are cast to FP32 under `name`, and return the name."""
        import onnx

        stored = self._add(f"{name}.fp16", half(values))
        self._casts[name] = onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT)
        return name

    def _add(self, name: str, values: NDArray[Any]) -> str:
        import onnx

        self._initializers[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def _become(self, node: Any, kind: str, inputs: list[str], attributes: dict[str, int]) -> None:
        """Turn a node into another one with the same outputs."""
        import onnx

        node.op_type, node.domain = kind, DOMAIN
        del node.input[:]
        node.input.extend(inputs)
        del node.attribute[:]
        node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in attributes.items())


def _stored_bits(coded: Coded) -> int:
    return 4 if coded.bits == 3 else coded.bits
