"""torch, packed weights."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._torch import TorchRuntime


@register(
    "runtime",
    "torch-packed",
    title="torch, packed weights",
    summary="Keeps weights packed in memory, multiplied by 4-bit kernels on a CPU: least memory, fastest decoding.",
    loads=("packed",),
    devices=("cpu", "cuda"),
    needs=("torch", "transformers"),
    precision="BF16",
)
class TorchPacked(TorchRuntime):
    """Keeps weights packed in memory, multiplied by 4-bit kernels on a CPU: least memory, fastest decoding."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(artifact, threads, device, "bfloat16", packed=True)
