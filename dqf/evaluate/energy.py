"""Energy from the counters of the processor (RAPL) or the GPU (NVML), or an estimate where neither can be read."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

RAPL, NVML, ESTIMATE, GPU_ESTIMATE = "rapl", "nvml", "estimate", "estimate_gpu"
POWERCAP = Path("/sys/class/powercap")


class Meter(Protocol):
    """Reads counters that only grow, but for those that wrap around."""

    @property
    def source(self) -> str:
        """`rapl` or `nvml`."""

    def read(self) -> Mapping[str, int]:
        """Return the counters' values, by name."""

    def joules(self, before: Mapping[str, int], after: Mapping[str, int]) -> float:
        """Return the energy between two readings."""


@dataclass(frozen=True)
class RaplMeter:
    """Linux powercap: the packages of all sockets, idle power and whatever else runs on them included.

    Attributes:
        largest: by folder of a package, the value in microjoules after which its counter starts from 0 again.

    Reference: docs.kernel.org/power/powercap/powercap.html
    """

    largest: Mapping[str, int]
    source: str = RAPL

    def read(self) -> Mapping[str, int]:
        """Return microjoules by package."""
        return {zone: int(Path(zone, "energy_uj").read_text(encoding="ascii")) for zone in self.largest}

    def joules(self, before: Mapping[str, int], after: Mapping[str, int]) -> float:
        """Return the energy between two readings that lie less than one turn of the counter apart."""
        turned = {zone: after[zone] < before[zone] for zone in self.largest}
        used = sum(after[zone] - before[zone] + (self.largest[zone] if turned[zone] else 0) for zone in self.largest)
        return used / 1e6


class NvmlMeter:
    """NVML's energy counter of one GPU; the processor beside it is not in it.

    Args:
        nvml: the module `pynvml`.
        index: of the GPU, as NVML counts them.

    Raises:
        Exception: what NVML raises if there is no such GPU or it has no such counter.
    """

    source = NVML

    def __init__(self, nvml: Any, index: int) -> None:
        nvml.nvmlInit()
        self._nvml, self._gpu = nvml, nvml.nvmlDeviceGetHandleByIndex(index)
        self.read()

    def read(self) -> Mapping[str, int]:
        """Return millijoules since the driver was loaded."""
        return {"gpu": int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu))}

    def joules(self, before: Mapping[str, int], after: Mapping[str, int]) -> float:
        """Return the energy between two readings."""
        return (after["gpu"] - before["gpu"]) / 1e3


def open_meter(device: str, powercap: Path = POWERCAP) -> Meter | None:
    """Return what measures the energy of a device, None where no counter can be read.

    Args:
        device: `cpu` or `cuda`.
        powercap: folder of the kernel's counters.
    """
    return _nvml_meter() if device.startswith("cuda") else _rapl_meter(powercap)


def _rapl_meter(powercap: Path) -> RaplMeter | None:
    """Return the packages' meter; zones below them (`intel-rapl:0:1`) and the board's (`psys`) would count twice."""
    largest = {}
    try:
        for zone in sorted(powercap.glob("intel-rapl:*")):
            if zone.name.count(":") == 1 and (zone / "name").read_text(encoding="ascii").startswith("package"):
                largest[str(zone)] = int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
        meter = RaplMeter(largest)
        meter.read()
    except (OSError, ValueError):  # most systems let only the administrator read energy_uj
        return None
    return meter if largest else None


def _nvml_meter() -> NvmlMeter | None:
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    try:
        return NvmlMeter(importlib.import_module("pynvml"), int(first) if first.isdigit() else 0)
    except Exception:  # NVML has an error class of its own for each reason why there is no counter
        return None


def energy_per_1000(
    examples: float, joules: float | None, source: str | None, busy_s: float, device: str, watts: float
) -> dict[str, Any]:
    """Return `energy_j_per_1000`, `energy_source` and, of an estimate, the assumed `energy_watts_per_core`.

    Args:
        examples: how many were predicted.
        joules: what a counter measured for them, None without one.
        source: of the counter.
        busy_s: seconds of processor time, over all threads, that the serving process took for them; of a GPU, which
            that says nothing of, seconds by the clock.
        device: `cpu` or `cuda`.
        watts: assumed power of a busy core, or of a busy GPU.
    """
    assumed = None
    # A counter that did not move was too slow for what it should measure.
    if not joules or source is None:
        source, joules = GPU_ESTIMATE if device.startswith("cuda") else ESTIMATE, busy_s * watts
        assumed = watts
    return {
        "energy_j_per_1000": 1000 * joules / examples,
        "energy_source": source,
        "energy_watts_per_core": assumed,
    }
