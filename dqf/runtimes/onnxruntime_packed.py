"""ONNX Runtime, packed weights, FP32 compute."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._onnxruntime import NEEDS, ONNXRuntime


@register(
    "runtime",
    "onnxruntime-packed",
    title="ONNX Runtime, packed weights, FP32 compute",
    summary="Keeps weights packed in memory (MatMulNBits) and computes in FP32.",
    loads=("packed",),
    devices=("cpu",),
    needs=NEEDS,
    precision="FP32",
)
class ONNXRuntimePacked(ONNXRuntime):
    """Keeps weights packed in memory (MatMulNBits) and computes in FP32."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(artifact, threads)
