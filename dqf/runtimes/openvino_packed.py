"""OpenVINO, packed weights, BF16 compute."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._openvino import OpenVINORuntime


@register(
    "runtime",
    "openvino-packed",
    title="OpenVINO, packed weights, BF16 compute",
    summary="Keeps 8- and 4-bit weights packed in memory, expands them in the inner loop and computes in BF16.",
    loads=("packed",),
    devices=("cpu",),
    needs=("openvino",),
    graph=True,
    fixes_lengths=True,
    precision="BF16",
)
class OpenVINOPacked(OpenVINORuntime):
    """Keeps 8- and 4-bit weights packed in memory, expands them in the inner loop and computes in BF16."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(
            artifact, threads, {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
        )
