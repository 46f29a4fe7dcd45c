"""What every stage of a run is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dqf.config import RunConfig
from dqf.data.tasks import Task
from dqf.environment import gpu, machine, versions
from dqf.models.compiling import can_compile
from dqf.progress import Reporter
from dqf.settings import Settings
from dqf.stages._cache import StageCache

LOADS_EVERY_FILE = {"cpu": "openvino-fp32", "cuda": "torch-fp32"}
"""By device, the faster one of the runtimes that do."""


@dataclass(frozen=True)
class Context:
    """Config, task, tools and machine of a run."""

    config: RunConfig
    task: Task
    task_sha256: str
    settings: Settings
    run_dir: Path
    reporter: Reporter
    cache: StageCache
    device: torch.device

    @property
    def threads(self) -> int:
        """CPU threads for measuring."""
        return self.settings.threads

    @property
    def shared_runtime(self) -> str:
        """The runtime that all variants are also timed in; `auto` is one that loads every file on this device."""
        asked = self.config.measurement.shared_runtime
        return LOADS_EVERY_FILE[self.device.type] if asked == "auto" else asked

    def numerics(self, training: bool = False) -> dict[str, Any]:
        """Return what decides the last bits of a computation; part of the keys of stages that compute."""
        threads = self.settings.training_threads if training else self.threads
        relevant: dict[str, Any] = {name: versions().get(name, "") for name in ("torch", "transformers")}
        return {"device": str(self.device), **gpu(str(self.device)), "threads": threads, **machine(), **relevant}

    def training_facts(self) -> dict[str, Any]:
        """Return the numerics of a training: besides, whether long ones are compiled."""
        compiles = {"compiles": True} if can_compile(self.device) else {}
        return {**self.numerics(training=True), **compiles}

    def data_facts(self) -> dict[str, Any]:
        """Return what decides the model's inputs."""
        facts: dict[str, Any] = {"task_sha256": self.task_sha256, "max_length": self.config.task.max_length}
        if self.task.train.pairs is not None:
            facts["pairs"] = "marked"  # before, a decoder's were joined, and a long first text left none of the second
        return facts

    def serving_facts(self) -> dict[str, Any]:
        """Return what decides the answers of a serving process, besides artifact and runtime."""
        found = versions()
        engines: dict[str, Any] = {name: found[name] for name in ("openvino", "onnxruntime") if name in found}
        return {**self.data_facts(), **self.numerics(), **engines}
