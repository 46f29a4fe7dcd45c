"""What long work keeps of itself, so that a stop loses nothing and a kill little."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dqf.errors import Cancelled
from dqf.progress import Reporter

CHECKPOINT_EVERY_S = 45.0


class Checkpoints:
    """Reports the steps of long work, and has it kept now and then and when it is asked to stop.

    Args:
        reporter: is told of every step.
        keep: writes what was done up to the last step to a file.
    """

    def __init__(self, reporter: Reporter, keep: Callable[[], None]) -> None:
        self._reporter = reporter
        self._keep = keep
        self._kept = time.monotonic()

    def progress(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """Say that so many steps are done.

        Raises:
            Cancelled: the work was asked to stop; what is done was kept.
        """
        try:
            self._reporter.progress(step, total, metrics)
        except Cancelled:
            self._keep()
            raise
        if time.monotonic() - self._kept > CHECKPOINT_EVERY_S and step < total:
            self._keep()
            self._kept = time.monotonic()


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state so that a kill leaves the old file or the new one, never a part."""
    temporary = path.with_suffix(".tmp")
    torch.save(dict(state), temporary)
    temporary.replace(path)
