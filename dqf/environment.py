"""What a figure was measured on: recorded with every result."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

import dqf

PACKAGES = (
    "torch",
    "peft",
    "transformers",
    "tokenizers",
    "safetensors",
    "openvino",
    "datasets",
    "numpy",
    "duckdb",
    "streamlit",
)


@functools.cache
def cpu_name() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide results, of those installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str:
    """Return the commit this program runs from, empty outside a checkout."""
    try:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def machine() -> dict[str, Any]:
    """Return what decides numerics and speed besides the versions."""
    return {"cpu": cpu_name(), "cores": os.cpu_count() or 1, "arch": platform.machine()}


def describe(device: str, threads: int) -> dict[str, Any]:
    """Return the `environment` of a result."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "memory_bytes": psutil.virtual_memory().total,
        "device": device,
        "packages": versions(),
        "dqf_version": dqf.__version__,
        "git_commit": git_commit(),
    }
