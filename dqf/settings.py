"""Where things lie and how many threads to use, read from the environment.

| variable | meaning | default |
|---|---|---|
| `DQF_RESULTS_DIR` | run directories, stage cache and the DuckDB store | `results` |
| `DQF_DATA_DIR` | folders in hub layout, tried before the hub (`os.pathsep` separates several) | none |
| `DQF_MODEL_DIRS` | folders local models may lie in (`os.pathsep` separates several) | working directory |
| `DQF_THREADS` | CPU threads for training and for latency | all cores |
| `DQF_TRAINING_THREADS` | CPU threads for training and quantizing alone | as `DQF_THREADS` |
| `DQF_WATTS_PER_CORE` | power of a busy core, for the estimate of energy where no counter can be read | 5 |
| `DQF_WATTS_PER_GPU` | power of a busy GPU, likewise | 250 |
| `DQF_SERVING_MEMORY_MB` | memory that the models of the Playground may take together | 2000 |

Five watts is an assumption, not a measurement: rated power divided by threads is about 2 to 4 W for server
processors and 5 to 10 W for desktop ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dqf.errors import UserError

WATTS_PER_CORE, WATTS_PER_GPU = 5.0, 250.0


@dataclass(frozen=True)
class Settings:
    """Resolved settings of this process; all paths are absolute."""

    results_dir: Path
    data_dirs: tuple[Path, ...]
    model_dirs: tuple[Path, ...]
    threads: int
    watts_per_core: float = WATTS_PER_CORE
    watts_per_gpu: float = WATTS_PER_GPU
    serving_memory_bytes: int = 2_000_000_000
    own_training_threads: int = 0

    @property
    def training_threads(self) -> int:
        """Threads that models are made with: `threads` unless fewer were asked for."""
        return self.own_training_threads or self.threads

    @property
    def runs_dir(self) -> Path:
        """Run directories."""
        return self.results_dir / "runs"

    @property
    def reference_dir(self) -> Path:
        """Committed run directories."""
        return self.results_dir / "reference"

    @property
    def cache_dir(self) -> Path:
        """Stage cache."""
        return self.results_dir / "cache"

    @property
    def uploads_dir(self) -> Path:
        """Files users uploaded."""
        return self.results_dir / "uploads"

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.results_dir / "dqf.duckdb"


def _folders(value: str | None) -> tuple[Path, ...]:
    parts = (value or "").split(os.pathsep)
    return tuple(Path(part).expanduser().resolve() for part in parts if part.strip())


def load_settings(results_dir: str | Path | None = None) -> Settings:
    """Read the settings from the environment; `results_dir` overrides `DQF_RESULTS_DIR`.

    Raises:
        UserError: `DQF_THREADS`, `DQF_TRAINING_THREADS`, `DQF_SERVING_MEMORY_MB`, `DQF_WATTS_PER_CORE` or
            `DQF_WATTS_PER_GPU` is not a number as it should be.
    """
    root = Path(results_dir or os.environ.get("DQF_RESULTS_DIR") or "results").expanduser().resolve()
    threads = _positive("DQF_THREADS", "unset it to use all cores")
    training_threads = _positive("DQF_TRAINING_THREADS", "unset it to train with as many as `DQF_THREADS`")
    memory_mb = _positive("DQF_SERVING_MEMORY_MB", "unset it to allow 2000 MB")
    return Settings(
        results_dir=root,
        data_dirs=_folders(os.environ.get("DQF_DATA_DIR")),
        model_dirs=_folders(os.environ.get("DQF_MODEL_DIRS")) or (Path.cwd().resolve(),),
        threads=threads or _cores(),
        serving_memory_bytes=(memory_mb or 2000) * 1_000_000,
        watts_per_core=_watts("DQF_WATTS_PER_CORE", WATTS_PER_CORE),
        watts_per_gpu=_watts("DQF_WATTS_PER_GPU", WATTS_PER_GPU),
        own_training_threads=training_threads,
    )


def _positive(name: str, fix: str) -> int:
    """Return a whole number of the environment, 0 if it is not set."""
    raw = os.environ.get(name, "").strip()
    if raw and not (raw.isascii() and raw.isdigit() and int(raw) > 0):
        raise UserError(f"`{name}` must be a positive whole number: got {raw!r}; {fix}.")
    return int(raw or 0)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _watts(name: str, usual: float) -> float:
    raw = os.environ.get(name, "").strip()
    try:
        watts = float(raw or usual)
    except ValueError:
        watts = 0.0
    if not 0 < watts <= 1000:
        raise UserError(
            f"`{name}` must be a number above 0 and at most 1000: got {raw!r}; unset it to assume {usual:g} W."
        )
    return watts


def confine(path: str | Path, roots: Iterable[Path], what: str, setting: str) -> Path:
    """Return the resolved path if it exists inside one of `roots` (symlinks followed).

    Raises:
        UserError: the path does not exist, leads outside every root, or is no file or folder (a device, a pipe).
    """
    roots = tuple(roots)
    try:
        resolved = Path(path).expanduser().resolve()
        kind = "" if not resolved.exists() else "file" if resolved.is_file() or resolved.is_dir() else "other"
    except (OSError, ValueError, RuntimeError):  # a null byte, a name too long, an unknown ~user, a loop of links
        raise UserError(f"{what} must be a path of this system: got {str(path)[:80]!r}; check the spelling.") from None
    if not any(resolved == root or root in resolved.parents for root in roots):
        allowed = ", ".join(str(root) for root in roots) or "none"
        raise UserError(
            f"{what} must lie inside an allowed folder ({allowed}): got {path}; "
            f"move it there or add its folder to `{setting}`."
        )
    if not kind:
        raise UserError(f"{what} must exist: got {path}; check the spelling.")
    if kind == "other":
        raise UserError(f"{what} must be a file or a folder: got {path}, a device or pipe; choose another.")
    return resolved
