"""Expand an artifact's packed weights to FP32 when its graph is loaded.

Kept packed, codes are expanded in the inner loop of every product, which saves memory and, where computing takes longer
than reading, costs time: MiniLM-L6 on AVX2 took 6 to 9 % longer from a 4-bit file than from an FP16 one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.artifacts import Artifact, dequantize
from dqf.runtimes._graph import packed_nodes
from dqf.runtimes._ov import ops, ov, replace


def to_dense(graph: ov.Model, artifact: Artifact, keep: list[Any]) -> int:
    """Put an FP32 constant in the place of each packed weight of a graph.

    Args:
        graph: as `read_graph` returns it.
        artifact: whose graph it is.
        keep: receives what must outlive the graph.

    Returns:
        How many weights are dense now.
    """
    stored = artifact.tensors()
    count = 0
    for name, packed, codes in packed_nodes(graph, artifact):
        expand_weight(codes, dequantize(name, packed, stored), packed.input_scale, keep)
        count += 1
    graph.validate_nodes_and_infer_types()
    return count


def expand_weight(codes: Any, values: NDArray[np.float32], input_scale: bool, keep: list[Any]) -> None:
    """Put an FP32 constant in the place of one packed weight.

    Args:
        codes: node of its codes.
        values: FP32 (rows, columns), what the weight stands for.
        input_scale: what meets the weight is divided by a vector first, which `values` hold already.
        keep: receives what must outlive the graph.
    """
    keep.append(values)
    expanded = _expanded(codes)
    targets = list(expanded.output(0).get_target_inputs())
    replace(expanded, ops.constant(values, shared_memory=True))
    if input_scale:
        for target in targets:
            product = target.get_node()
            product.input(0).replace_source_output(product.input_value(0).get_node().input_value(0))


def _expanded(codes: Any) -> Any:
    """Follow a weight's codes to the node that gives it in FP32."""
    node = codes
    while node.get_output_element_type(0) != ov.Type.f32:
        (target,) = node.output(0).get_target_inputs()
        node = target.get_node()
    return node
