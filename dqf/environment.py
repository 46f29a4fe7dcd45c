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
    "onnxruntime",
    "gptqmodel",
    "autoawq",
    "datasets",
    "numpy",
    "duckdb",
    "streamlit",
)


VECTORS = (("AMX", "amx_tile"), ("AVX-512", "avx512f"), ("AVX2", "avx2"), ("NEON", "asimd"))
"""Widest first: as people call them, and as Linux does."""
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Of x86: products of 8-bit integers are summed in 32 bits. Other processors sum pairs of them in 16 bits."""


@functools.cache
def cpu_name() -> str:
    """Return the processor's name with its vector instructions, such as `AMD EPYC (AVX-512, BF16)`.

    Virtual machines hide the model: two of one name may differ several times in speed and in the last bits.
    """
    name = _cpu_facts().get("model name", "") or platform.processor() or platform.machine()
    found = vector_instructions(_cpu_flags())
    return f"{name} ({', '.join(found)})" if found else name


def vector_instructions(flags: str) -> list[str]:
    """Return the widest vector instructions, and BF16 where it is multiplied natively, of a list of CPU flags."""
    known = set(flags.split())
    return [
        *[title for title, flag in VECTORS if flag in known][:1],
        *(["BF16"] if BF16_FLAGS.intersection(known) else []),
    ]


def multiplies_bf16() -> bool:
    """Tell whether the processor multiplies BF16 natively, as far as Linux says."""
    return bool(BF16_FLAGS.intersection(_cpu_flags().split()))


def int8_sums_overflow() -> bool:
    """Tell whether pairs of products of unsigned and signed 8-bit integers are summed in 16 bits, which cuts sums off.

    So it is on x86 without VNNI: 255 x 127 twice is twice what 16 bits hold. Where flags are not known (not Linux),
    x86 is taken to be so.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686", "x86")
    return x86 and not INT8_FLAGS.intersection(_cpu_flags().split())


def _cpu_flags() -> str:
    facts = _cpu_facts()
    return facts.get("flags", "") or facts.get("Features", "")


def _cpu_facts() -> dict[str, str]:
    """Return what Linux tells of the first processor; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide results, of those installed."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    """Read them once: all keys of stages hold some, and reading takes a tenth of a second."""
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


def gpu(device: str) -> dict[str, str]:
    """Return `gpu`, the name of the one that a CUDA device stands for; nothing of the CPU."""
    if not device.startswith("cuda"):
        return {}
    import torch

    return {"gpu": torch.cuda.get_device_name(torch.device(device))}


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
        **gpu(device),
        "packages": versions(),
        "dqf_version": dqf.__version__,
        "git_commit": git_commit(),
    }


def hub_is_offline() -> bool:
    """Tell whether the user forbade asking the model hub, by `HF_HUB_OFFLINE`."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
