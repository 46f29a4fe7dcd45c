"""OpenVINO, BF16 compute."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._openvino import OpenVINORuntime


@register(
    "runtime",
    "openvino-bf16",
    title="OpenVINO, BF16 compute",
    summary="Reads the FP16 file and computes in BF16 where the processor can.",
    loads=("fp16",),
    devices=("cpu",),
    needs=("openvino",),
    graph=True,
    fixes_lengths=True,
    precision="BF16",
)
class OpenVINOBF16(OpenVINORuntime):
    """Reads the FP16 file and computes in BF16 where the processor can."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(artifact, threads, {"INFERENCE_PRECISION_HINT": "bf16"})
