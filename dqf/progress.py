"""What the pipeline tells the outside while it works, and how the outside can stop it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol


class Reporter(Protocol):
    """Receives progress; every method may raise `dqf.errors.Cancelled` to stop the work."""

    def plan(self, stages: Sequence[Mapping[str, str]]) -> None:
        """Announce all stages, in order, each with `id` and `title`."""

    def stage_started(self, stage: str) -> None:
        """Say that a stage begins."""

    def progress(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """Say how far the current stage is; cheap enough to call at every step (it is throttled)."""

    def stage_done(self, stage: str, cache: str, seconds: float, metrics: Mapping[str, Any] | None = None) -> None:
        """Say that a stage ended; `cache` is `hit` when its output was there already, else `miss`."""

    def message(self, text: str) -> None:
        """Tell people something about the current stage."""

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the run was asked to stop."""


class SilentReporter:
    """Reports nothing; for tests and for library use."""

    def plan(self, stages: Sequence[Mapping[str, str]]) -> None:
        """Ignore."""

    def stage_started(self, stage: str) -> None:
        """Ignore."""

    def progress(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """Ignore."""

    def stage_done(self, stage: str, cache: str, seconds: float, metrics: Mapping[str, Any] | None = None) -> None:
        """Ignore."""

    def message(self, text: str) -> None:
        """Ignore."""

    def check_cancelled(self) -> None:
        """Never cancelled."""


@contextmanager
def phase(reporter: Reporter, name: str) -> Iterator[None]:
    """Report a stage around a piece of work that is not cached."""
    reporter.stage_started(name)
    begun = time.monotonic()
    yield
    reporter.stage_done(name, "miss", time.monotonic() - begun)
