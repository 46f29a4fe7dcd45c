"""OpenVINO, FP32 compute."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._openvino import OpenVINORuntime


@register(
    "runtime",
    "openvino-fp32",
    title="OpenVINO, FP32 compute",
    summary="Reads FP16 files, or packed ones whose weights it expands to FP32 at load, and computes in FP32.",
    loads=("fp16", "packed"),
    devices=("cpu",),
    needs=("openvino",),
    graph=True,
    fixes_lengths=True,
    precision="FP32",
)
class OpenVINOFP32(OpenVINORuntime):
    """Reads FP16 files, or packed ones whose weights it expands to FP32 at load, and computes in FP32."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(artifact, threads, {"INFERENCE_PRECISION_HINT": "f32"}, dense=True)
