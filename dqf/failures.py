"""What stopped a worker, in one sentence: errors of libraries that nobody foresaw, and the room to write them down."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
_NO_SPACE = ("no space left on device", "disk quota exceeded")
_CUT_SHORT = re.compile(r"PytorchStreamWriter|unexpected pos \d+ vs \d+|\d+ requested and \d+ written")
"""How torch and numpy (so GGUF's writer) say that less was written than should be; they do not say why."""
_CRASHES = (signal.SIGFPE, signal.SIGSEGV, signal.SIGILL, signal.SIGABRT, signal.SIGBUS)
RESERVE = ".reserve"
RESERVE_BYTES = 128 * 1024


@dataclass(frozen=True)
class Advice:
    """What to do, as the end of a sentence.

    Attributes:
        memory: when memory ran out.
        disk: when the disk did.
    """

    memory: str
    disk: str


def describe_failure(error: BaseException, advice: Advice) -> str:
    """Return one sentence for an error nobody foresaw: what happened, and what to do where that is known."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _holds(error, _NO_MEMORY):
        return f"there was not enough memory: {advice.memory}."
    if any(_no_space(one) for one in _chain(error)):
        return f"the disk is full: {advice.disk}."
    if write_failed(error):
        return f"a file could not be written whole, as when the disk is full: {advice.disk}."
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500] or 'no message'} (the log has the details)."


def write_failed(error: BaseException) -> bool:
    """Tell whether an error says that a file could not be written for want of space."""
    return any(_no_space(one) for one in _chain(error)) or bool(_CUT_SHORT.search(str(error)))


def cause_of_end(code: int | None) -> str:
    """Return why a process ended that said nothing itself, as the end of a sentence; `code` is `Popen.returncode`."""
    if code is None:
        return "stopped answering"
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code == signal.SIGKILL:
        return f"was killed ({name}): most often the system does so when its memory runs out"
    if -code in _CRASHES:
        return (
            f"crashed ({name}), a fault of the runtime on this processor: another runtime or number of threads may work"
        )
    return f"was ended by {name}"


def _no_space(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or _holds(error, _NO_SPACE)


def _holds(error: BaseException, hints: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(hint in text for hint in hints)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it arose from: torch hides a file's error behind its own."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def reserve(folder: Path) -> Iterator[None]:
    """Hold some space in a folder while work goes on, so that a disk that is full still takes the reason.

    `release` gives it back early.
    """
    with suppress(OSError), (folder / RESERVE).open("wb") as file:
        file.write(os.urandom(RESERVE_BYTES))
    try:
        yield
    finally:
        release(folder)


def release(folder: Path) -> None:
    """Give back what `reserve` holds."""
    (folder / RESERVE).unlink(missing_ok=True)
