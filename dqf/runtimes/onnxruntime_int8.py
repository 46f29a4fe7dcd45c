"""ONNX Runtime, packed weights, INT8 compute."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._onnxruntime import NEEDS, ONNXRuntime


@register(
    "runtime",
    "onnxruntime-int8",
    title="ONNX Runtime, packed weights, INT8 compute",
    summary="Keeps weights packed (MatMulNBits) and rounds activations to INT8 block by block as they come.",
    loads=("packed",),
    devices=("cpu",),
    needs=NEEDS,
    precision="INT8",
)
class ONNXRuntimeInt8(ONNXRuntime):
    """Keeps weights packed (MatMulNBits) and rounds activations to INT8 block by block as they come."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(artifact, threads, accuracy_level=4)
