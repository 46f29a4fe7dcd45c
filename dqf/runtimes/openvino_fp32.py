"""OpenVINO, FP32 compute."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._openvino import OpenVINORuntime


@register(
    "runtime",
    "openvino-fp32",
    title="OpenVINO, FP32 compute",
    summary="Reads the FP16 file and computes in FP32.",
    loads=("fp16",),
    devices=("cpu",),
    needs=("openvino",),
    graph=True,
    precision="FP32",
)
class OpenVINOFP32(OpenVINORuntime):
    """Reads the FP16 file and computes in FP32."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(artifact, threads, {"INFERENCE_PRECISION_HINT": "f32"})
