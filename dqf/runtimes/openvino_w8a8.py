"""OpenVINO, weights expanded to INT8 at load, INT8 compute with calibrated inputs."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._openvino import OpenVINORuntime


@register(
    "runtime",
    "openvino-w8a8",
    title="OpenVINO, INT8 compute",
    summary="Expands packed weights to INT8 at load and multiplies integers; needs calibrated input ranges.",
    loads=("packed",),
    devices=("cpu",),
    needs=("openvino",),
    graph=True,
    fixes_lengths=True,
    int8_scales=True,
    precision="INT8",
)
class OpenVINOW8A8(OpenVINORuntime):
    """Expands packed weights to INT8 at load and multiplies integers."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(artifact, threads, {"INFERENCE_PRECISION_HINT": "bf16"}, int8=True)
