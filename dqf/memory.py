"""The most memory a piece of work took."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from dqf.serving.server import peak_rss_bytes


class PeakMemory:
    """Memory of the GPU, or resident memory of this process, at its highest since this was made.

    Linux can start the process's mark afresh; elsewhere it is the highest since the process began.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def bytes(self) -> int:
        """Return it."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        return peak_rss_bytes()
