"""torch, FP32."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._torch import TorchRuntime


@register(
    "runtime",
    "torch-fp32",
    title="torch, FP32",
    summary="Expands all weights to FP32; the reference.",
    loads=("fp16", "packed"),
    devices=("cpu", "cuda"),
    needs=("torch", "transformers"),
    precision="FP32",
)
class TorchFP32(TorchRuntime):
    """Expands all weights to FP32; the reference."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(artifact, threads, device, "float32")
