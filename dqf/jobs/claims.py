"""Who may start a run: a short lock around "look at the state, then become its worker"."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claim(run_dir: Path) -> Iterator[None]:
    """Hold the run's claim lock; supervisor, command line and worker take it before they change its worker.

    It is held for milliseconds only (never while a run works), so waiting for it is fine.
    """
    with (run_dir / ".claim").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
