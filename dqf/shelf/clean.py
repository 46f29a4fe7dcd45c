"""Clean-up of the stage cache: what no recorded run was made from.

A recorded run names the key of every stage it used in its `result.json`; those entries stay, though its
artifacts have names of their own and would survive. What a run that failed or was stopped may go on from stays
too, unless it is given up. Nothing is removed while a run or a sweep works.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.settings import Settings
from dqf.shelf.items import remove_folder
from dqf.shelf.usage import freed_bytes, usage_of
from dqf.sweeps.directory import sweep_at_work, unfinished_sweeps

NEEDED, RESUMABLE, FREE = "needed", "resumable", "free"
PARTIAL = ".partial"


@dataclass(frozen=True)
class Entry:
    """One folder of the stage cache.

    Attributes:
        kind: of the stage.
        folder: its files.
        status: `NEEDED` by a recorded run, `RESUMABLE` for an unfinished one, or `FREE`.
        bytes: of its files.
    """

    kind: str
    folder: Path
    status: str
    bytes: int


def entries(settings: Settings) -> list[Entry]:
    """Return every entry of the stage cache with what it is good for.

    Raises:
        UserError: a result cannot be read, so nobody knows what it needs.
    """
    needed = needed_keys(settings)
    unfinished = bool(_runs_in(settings, (*protocol.RESUMABLE_STATES, *protocol.LIVE_STATES))) or any(
        unfinished_sweeps(settings)
    )
    found = []
    for folder in sorted(settings.cache_dir.glob("*/*")):
        if folder.is_symlink() or not folder.is_dir() or folder.name.startswith("."):
            continue
        rest = RESUMABLE if unfinished else FREE
        status = NEEDED if (folder.parent.name, folder.name) in needed else rest
        found.append(Entry(folder.parent.name, folder, status, usage_of(folder).bytes))
    return found


def needed_keys(settings: Settings) -> set[tuple[str, str]]:
    """Return kind and key of every stage that a recorded run used.

    Raises:
        UserError: a result cannot be read.
    """
    needed = set()
    for root in (settings.runs_dir, settings.reference_dir):
        for run_dir in protocol.list_runs(root):
            if not (run_dir / "result.json").exists():
                continue
            result = protocol.read_json(run_dir / "result.json")
            try:
                needed |= {(str(row["id"]).split(":")[0], str(row["key"])) for row in result["stages"]}
            except (TypeError, KeyError):
                raise UserError(
                    f"clean-up needs every result: that of {run_dir.name} cannot be read, so nobody knows what it "
                    "needs; mend or remove that run first."
                ) from None
    return needed


def removable(found: list[Entry], give_up: bool) -> list[Entry]:
    """Return the entries that clean-up takes; with `give_up` also what unfinished runs could go on from."""
    return [one for one in found if one.status == FREE or (give_up and one.status == RESUMABLE)]


def freed(found: list[Entry]) -> int:
    """Return the bytes that removing entries gives back."""
    return freed_bytes(one.folder for one in found)


def clean(settings: Settings, give_up: bool = False) -> tuple[int, int]:
    """Remove what no recorded run was made from.

    Args:
        settings: where the cache lies.
        give_up: also remove what unfinished runs could go on from; they compute it again when resumed.

    Returns:
        How many entries were removed, and the bytes that gave back.

    Raises:
        UserError: a run or a sweep works now, or a result cannot be read.
    """
    count = size = 0
    for one in removable(entries(settings), give_up):
        live = next((run.name for run in _runs_in(settings, protocol.LIVE_STATES)), "") or sweep_at_work(settings)
        if live:
            raise UserError(f"nothing is cleaned up while a run works or waits: {live} does; wait for it or cancel it.")
        with _locked(one.folder) as ours:
            if ours and one.folder.is_dir():
                size += freed_bytes([one.folder])
                remove_folder(one.folder)
                count += 1
    return count, size


def _runs_in(settings: Settings, states: tuple[str, ...]) -> list[Path]:
    return [run for run in protocol.list_runs(settings.runs_dir) if protocol.run_state(run) in states]


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold an entry's key as the pipeline does; False if somebody works on it. The lock file stays."""
    key = folder.name.removesuffix(PARTIAL)
    with folder.with_name(f"{key}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
