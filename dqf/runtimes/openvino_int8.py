"""OpenVINO, packed weights, INT8 compute."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._openvino import OpenVINORuntime


@register(
    "runtime",
    "openvino-int8",
    title="OpenVINO, packed weights, INT8 compute",
    summary="Keeps weights packed and rounds activations to INT8 group by group as they come.",
    loads=("packed",),
    devices=("cpu",),
    needs=("openvino",),
    graph=True,
    fixes_lengths=True,
    precision="INT8",
)
class OpenVINOInt8(OpenVINORuntime):
    """Keeps weights packed and rounds activations to INT8 group by group as they come."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(
            artifact, threads, {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"}
        )
