"""What folders take on disk; a file with several names is counted once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

Inode = tuple[int, int]


@dataclass(frozen=True)
class Usage:
    """What files take.

    Attributes:
        bytes: of all, each counted once.
        shared_bytes: of those that have another name elsewhere (a run shares weights with the stage cache).
        files: how many.
    """

    bytes: int = 0
    shared_bytes: int = 0
    files: int = 0


@dataclass(frozen=True)
class RunUsage:
    """What a run takes, by part; all of `Usage` of the run's folder."""

    artifacts: Usage
    exports: Usage
    whole: Usage

    @property
    def other_bytes(self) -> int:
        """Predictions, timings, logs."""
        return self.whole.bytes - self.artifacts.bytes - self.exports.bytes


def inodes(folders: Iterable[Path]) -> dict[Inode, tuple[int, int, int]]:
    """Return size, names here and names in all of each file below folders; links are not followed."""
    found: dict[Inode, tuple[int, int, int]] = {}
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                try:
                    state = os.lstat(os.path.join(root, name))
                except OSError:
                    continue
                key = (state.st_dev, state.st_ino)
                here = found.get(key, (0, 0, 0))[1]
                found[key] = (state.st_size, here + 1, state.st_nlink)
    return found


def usage_of(*folders: Path) -> Usage:
    """Return what folders take together."""
    found = inodes(folders)
    return Usage(
        sum(size for size, _, _ in found.values()),
        sum(size for size, here, names in found.values() if names > here),
        len(found),
    )


def freed_bytes(folders: Iterable[Path]) -> int:
    """Return the bytes that removing folders gives back: files with no name elsewhere."""
    return sum(size for size, here, names in inodes(folders).values() if names <= here)


def run_usage(run_dir: Path) -> RunUsage:
    """Return what a run takes."""
    return RunUsage(usage_of(run_dir / "artifacts"), usage_of(run_dir / "exports"), usage_of(run_dir))
