"""Does a run fit into this machine's memory, and if not, what would? No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from dqf.config import RunConfig
from dqf.estimate import Estimate
from dqf.sections import LORA

CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory"))
"""Where a container's limits stand, in version 2 and 1 of Linux's control groups."""
CGROUP_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def memory_limit() -> int:
    """Return the bytes that all processes here may use together: the machine's, or the container's limit."""
    total = int(psutil.virtual_memory().total)
    limits = [_number(folder / limit) for folder, (limit, _) in zip(CGROUPS, CGROUP_FILES, strict=True)]
    return min((total, *(limit for limit in limits if limit is not None)))


def memory_available() -> int:
    """Return the bytes that more processes here may use: free in the machine, and in the container."""
    found = [int(psutil.virtual_memory().available)]
    for folder, names in zip(CGROUPS, CGROUP_FILES, strict=True):
        limit, used = (_number(folder / name) for name in names)
        if limit is not None:
            found.append(limit - max(0, (used or 0) - _file_cache(folder)))
    return max(0, min(found))


def _number(path: Path) -> int | None:
    """Return the number in a file of a control group, None where there is no such file, or the word "max" in it."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _file_cache(folder: Path) -> int:
    """Return the bytes that a control group is charged with for files and that give way."""
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        return int(dict(line.split() for line in lines).get("inactive_file", 0))
    except (OSError, ValueError):
        return 0


def memory_error(config: RunConfig, estimate_of: Callable[[RunConfig], Estimate], limit: int) -> str:
    """Return why a run cannot fit and the nearest settings that do, empty if it fits.

    Args:
        config: of the run.
        estimate_of: estimates a config, as well as past runs allow.
        limit: bytes there are.
    """
    needed = estimate_of(config).memory_bytes
    if needed <= limit:
        return ""
    rule = f"the run must fit into memory: it takes about {needed / 1e9:.1f} GB, and there are {limit / 1e9:.1f} GB"
    for words, smaller in _smaller(config):
        found = estimate_of(smaller).memory_bytes
        if found <= limit:
            return f"{rule}; set {words} (about {found / 1e9:.1f} GB)."
    return f"{rule}; choose smaller models: no batch size fits."


def _smaller(config: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    """Yield configs that take less and less, and what was changed."""
    teacher, student = config.teacher.batch_size, config.student.batch_size
    changed = dict(config.to_dict())
    while max(teacher, student) > 1:
        largest = max(teacher, student) // 2
        teacher, student = min(teacher, largest), min(student, largest)
        changed = {
            **changed,
            "teacher": {**changed["teacher"], "batch_size": teacher},
            "student": {**changed["student"], "batch_size": student},
        }
        yield _words(config, teacher, student), RunConfig.from_dict(changed)
    if config.teacher.tuning != LORA:
        changed = {**changed, "teacher": {**changed["teacher"], "tuning": LORA}}
        yield f"`teacher.tuning` to {LORA} and the batch sizes to 1", RunConfig.from_dict(changed)


def _words(config: RunConfig, teacher: int, student: int) -> str:
    parts = []
    if teacher != config.teacher.batch_size:
        parts.append(f"`teacher.batch_size` to {teacher}")
    if student != config.student.batch_size:
        parts.append(f"`student.batch_size` to {student}")
    return " and ".join(parts)
