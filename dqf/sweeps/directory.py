"""A sweep's directory: `<results>/sweeps/<name>/sweep.json` lists its runs, which are ordinary runs.

How far it is, only the run directories say. So a sweep survives anything its runs survive, and the same
command finds its place again: by the name of the sweep, and in it by the configs of the runs.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dqf.config import RunConfig, digest_of
from dqf.errors import UserError
from dqf.jobs import actions, protocol
from dqf.jobs.claims import claim
from dqf.settings import Settings
from dqf.sweeps.plan import Plan, PlannedRun

SCHEMA_VERSION = 1
FILE, LOCK, AHEAD_LOCK = "sweep.json", ".lock", ".ahead-lock"
PLANNED = "planned"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


@dataclass
class Entry:
    """One run of a sweep.

    Attributes:
        run: what it is.
        run_id: of its directory, chosen before that is made; empty until its turn comes.
    """

    run: PlannedRun
    run_id: str = ""


@dataclass
class Sweep:
    """An opened sweep."""

    folder: Path
    plan: Plan
    entries: list[Entry]
    created: str
    runs_dir: Path

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.name

    def run_dir(self, entry: Entry) -> Path:
        """Return where the run lies, or will lie."""
        return self.runs_dir / entry.run_id

    def state(self, entry: Entry) -> str:
        """Return the run's state, `planned` before it exists."""
        if not entry.run_id or not (self.run_dir(entry) / "config.json").is_file():
            return PLANNED
        return protocol.run_state(self.run_dir(entry))

    def queue(self, entry: Entry) -> Path:
        """Make the run, or put an ended one back into the queue, and return its directory.

        A run that waits, works or has succeeded is left as it is.
        """
        state = self.state(entry)
        if state == PLANNED:
            config = entry.run.config
            if not entry.run_id:
                entry.run_id = protocol.new_run_id(actions.label_of(config))
                self.save()  # first the name, then the run: nothing is made that the sweep does not know
            protocol.create_run(self.runs_dir, config.to_dict(), "", entry.run_id)
        elif state in protocol.RESUMABLE_STATES:
            with claim(self.run_dir(entry)):
                protocol.prepare_resume(self.run_dir(entry))
        return self.run_dir(entry)

    def save(self) -> None:
        """Write `sweep.json`."""
        protocol.write_json(
            self.folder / FILE,
            {
                "schema_version": SCHEMA_VERSION,
                "name": self.name,
                "created": self.created,
                "plan": self.plan.to_dict(),
                "runs": [
                    {
                        "settings": dict(entry.run.settings),
                        "config_digest": entry.run.config.digest(),
                        "run_id": entry.run_id or None,
                    }
                    for entry in self.entries
                ],
            },
        )


@contextmanager
def open_sweep(settings: Settings, plan: Plan, runs: Sequence[PlannedRun], name: str = "") -> Iterator[Sweep]:
    """Open a sweep for working on it, alone.

    Runs that it lists already and that are still planned are kept; others are forgotten here (their
    directories stay) or added.

    Args:
        settings: where the results lie.
        plan: what was asked for.
        runs: all its runs.
        name: of its folder; without one it is named after its runs, so the same lists find the same sweep.

    Raises:
        UserError: a bad name, or another process works on the sweep.
    """
    folder = sweep_folder(settings, runs, name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"one process at a time can work on a sweep: another one works on {folder.name}; "
                "wait for it or stop it."
            ) from None
        sweep = read_sweep(settings, plan, runs, folder)
        sweep.save()
        yield sweep


def sweep_at_work(settings: Settings) -> str:
    """Return the name of a sweep that a process works on, empty if there is none.

    It may be making models ahead of its runs, with no run directory yet.
    """
    return _held(settings.results_dir / "sweeps", LOCK)


@contextmanager
def making_ahead(sweep: Sweep) -> Iterator[None]:
    """Show others that models are being made for runs that are not begun: the machine is not free for timing."""
    with (sweep.folder / AHEAD_LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sweep_making_ahead(folder: Path) -> str:
    """Return the name of a sweep below this folder that makes models ahead of its runs, empty if there is none."""
    return _held(folder, AHEAD_LOCK)


def _held(folder: Path, name: str) -> str:
    """Return the sweep whose lock of that name a process holds, empty if there is none."""
    for lock in sorted(folder.glob(f"*/{name}")):
        try:
            with lock.open("a+") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.parent.name
        except OSError:  # another user's, or a file system without locks: nobody can tell
            continue
    return ""


def unfinished_sweeps(settings: Settings) -> list[str]:
    """Return the names of sweeps with runs that were never begun: their models may have been made ahead."""
    found = []
    for file in sorted((settings.results_dir / "sweeps").glob(f"*/{FILE}")):
        data = protocol.read_json(file)
        rows = data.get("runs") if isinstance(data, Mapping) else None
        if any(isinstance(row, Mapping) and not row.get("run_id") for row in rows or ()):
            found.append(file.parent.name)
    return found


def sweep_folder(settings: Settings, runs: Sequence[PlannedRun], name: str = "") -> Path:
    """Return the folder of a sweep.

    Raises:
        UserError: a name that is no plain folder name.
    """
    if name and not _NAME.fullmatch(name):
        raise UserError(f"a sweep's name must be lower-case letters, digits and dashes, at most 60: got {name!r}.")
    digest = digest_of(sorted(run.config.digest() for run in runs))[:8]
    return settings.results_dir / "sweeps" / (name or f"sweep-{digest}")


def read_sweep(settings: Settings, plan: Plan, runs: Sequence[PlannedRun], folder: Path) -> Sweep:
    """Return a sweep with the runs its folder knows already; nothing is written."""
    data = protocol.read_json(folder / FILE)
    data = data if isinstance(data, dict) else {}
    known: dict[str, str] = {}
    for row in data.get("runs") or ():
        run_id = row.get("run_id") if isinstance(row, Mapping) else None
        if isinstance(run_id, str) and protocol.valid_run_id(run_id):
            known.setdefault(_digest_of_run(settings.runs_dir / run_id) or str(row.get("config_digest")), run_id)
    created = str(data.get("created") or datetime.now(UTC).isoformat(timespec="seconds"))
    entries = [Entry(run, known.get(run.config.digest(), "")) for run in runs]
    return Sweep(folder, plan, entries, created, settings.runs_dir)


def _digest_of_run(run_dir: Path) -> str:
    """Return the digest of a run's config as this version reads it, empty where it cannot."""
    data = protocol.read_json(run_dir / "config.json")
    try:
        return RunConfig.from_dict(data).digest() if isinstance(data, Mapping) else ""
    except UserError:
        return ""
