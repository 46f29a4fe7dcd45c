"""torch, BF16."""

from __future__ import annotations

from dqf.artifacts import Artifact
from dqf.registry import register
from dqf.runtimes._torch import TorchRuntime


@register(
    "runtime",
    "torch-bf16",
    title="torch, BF16",
    summary="Expands all weights to BF16 at load.",
    loads=("fp16", "packed"),
    devices=("cpu", "cuda"),
    needs=("torch", "transformers"),
    precision="BF16",
)
class TorchBF16(TorchRuntime):
    """Expands all weights to BF16 at load."""

    def __init__(self, artifact: Artifact, threads: int, device: str) -> None:
        super().__init__(artifact, threads, device, "bfloat16")
