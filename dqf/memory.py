"""How this process holds memory, and the most a piece of work took."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

import torch

from dqf.serving.server import peak_rss_bytes

MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`."""


def keep_freed_memory() -> None:
    """Let this process use its freed memory again instead of giving it back each time and asking for new pages.

    See docs/decisions/0017. Where the C library has no such settings nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(MALLOC_MMAP_THRESHOLD, 2**25)  # bytes; what is larger still comes and goes page by page
        libc.mallopt(MALLOC_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def modules_set_aside() -> Iterator[None]:
    """Leave what exists, modules for the most part, out of the garbage collector's searches meanwhile.

    To go through all of torch and transformers took it a third of a second after each stage.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def give_back_memory() -> None:
    """Return freed memory to the system: other processes do what comes next."""
    gc.collect()
    if gc.get_freeze_count():
        gc.freeze()  # modules that came since are set aside, too
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


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
