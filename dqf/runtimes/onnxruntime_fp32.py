"""ONNX Runtime, FP32 compute."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._onnxruntime import NEEDS, ONNXRuntime


@register(
    "runtime",
    "onnxruntime-fp32",
    title="ONNX Runtime, FP32 compute",
    summary="Reads the FP16 file and computes in FP32.",
    loads=("fp16",),
    devices=("cpu",),
    needs=NEEDS,
    precision="FP32",
)
class ONNXRuntimeFP32(ONNXRuntime):
    """Reads the FP16 file and computes in FP32."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(artifact, threads)
