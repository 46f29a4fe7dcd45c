"""Exports in the background: one process of its own for each, all its state in the files of its job folder.

A job folder has the files of a run directory (`dqf.jobs.protocol`), so its state is true after a
reload, in a second tab and after a restart of the server. Nothing here imports torch.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dqf import registry
from dqf.artifacts import WEIGHTS, Artifact
from dqf.errors import ConfigError, FieldError, UserError
from dqf.exporting import export
from dqf.exporting.export import FORMAT, RECORD, VERSION, ExportResult, missing_sentence
from dqf.exporting.places import EXPORTS, JOBS, Place
from dqf.jobs import protocol
from dqf.jobs.claims import claim
from dqf.jobs.executor import LocalExecutor
from dqf.jobs.views import RunView, read_run
from dqf.settings import Settings

COMMAND: tuple[str, ...] = (sys.executable, "-m", "dqf.exporting.worker")
INTERRUPTED = "the process that made it ended without a word (killed, out of memory, or the machine went down)."
FILES = ("result.json", "cancel", "worker.json", "events.jsonl", "worker.log")

_executors: dict[tuple[Path, Sequence[str]], LocalExecutor] = {}
_executors_lock = threading.Lock()


@dataclass(frozen=True)
class Job:
    """The last attempt to make an export.

    Attributes:
        view: its state, phases and times.
        error: one sentence if it failed or was interrupted, else empty.
    """

    view: RunView
    error: str

    @property
    def live(self) -> bool:
        """Whether it still works."""
        return self.view.state in protocol.LIVE_STATES


def refusal(artifact: Artifact, entry: registry.Entry, options: Mapping[str, Any]) -> str:
    """Return why a variant cannot take a form with these settings, empty if it can."""
    errors: list[FieldError] = []
    chosen = entry.options(options, "", errors)
    return str(ConfigError(errors)) if errors else str(entry.facts["refuse"](artifact, chosen))


def start(settings: Settings, place: Place, artifact: Artifact, name: str, options: Mapping[str, Any]) -> None:
    """Start making an export.

    Args:
        settings: passed on to the process.
        place: the variant.
        artifact: of the variant, opened.
        name: registered exporter.
        options: its settings.

    Raises:
        UserError: the variant cannot take this form, a package is missing, or another export is being made.
        OSError: the process could not be started.
    """
    entry = registry.get("exporter", name)
    message = refusal(artifact, entry, options) or missing_sentence(entry)
    if message:
        raise UserError(message)
    job = place.job(name)
    with claim(settings.results_dir):
        other = working(settings)
        if other is not None:
            raise UserError(
                f"one export is made at a time: {other.name} of {other.parents[2].name} is at work; "
                "wait for it or cancel it."
            )
        job.mkdir(parents=True, exist_ok=True)
        _executor(settings).clean_up(job)
        shutil.rmtree(scratch_of(place, name), ignore_errors=True)
        for file in FILES:
            (job / file).unlink(missing_ok=True)
        request = {"variant": place.variant_id, "format": name, "options": dict(options)}
        protocol.write_json(job / "config.json", request)
        _executor(settings).start(job)


def cancel(settings: Settings, place: Place, name: str) -> None:
    """Ask an export that is being made to stop; it is killed if it does not within the grace time."""
    if (place.job(name) / "config.json").is_file():
        _executor(settings).stop(place.job(name))


def look(settings: Settings, place: Place, name: str) -> Job | None:
    """Return the last attempt to make an export, None if there was none; goes on with stopping one."""
    folder = place.job(name)
    if not (folder / "config.json").is_file():
        return None
    executor = _executor(settings)
    executor.poll(folder)
    view = read_run(folder)
    if view.state == protocol.CANCELLING:
        executor.stop(folder)
    elif view.state not in protocol.LIVE_STATES:
        executor.clean_up(folder)
        if view.state != protocol.SUCCEEDED:
            shutil.rmtree(scratch_of(place, name), ignore_errors=True)
    error = INTERRUPTED if view.state == protocol.INTERRUPTED else view.error
    return Job(view, error)


def scratch_of(place: Place, name: str) -> Path:
    """Return the folder that the last attempt works, or worked, in; a killed one leaves it behind."""
    worker = protocol.read_worker(place.job(name))
    return export.scratch_of(place.export(name), worker.pid if worker else 0)


def working(settings: Settings) -> Path | None:
    """Return the folder of the job that is at work now, of any run; None if there is none."""
    for root in (settings.runs_dir, settings.reference_dir):
        for run in _listing(root):
            # Most of thousands of runs have no exports: one failing system call each; a glob takes many times longer.
            for job in _listing(f"{run}/{EXPORTS}/{JOBS}"):
                folder = Path(job)
                if (folder / "worker.json").is_file() and protocol.run_state(folder) in protocol.LIVE_STATES:
                    return folder
    return None


def _listing(folder: str | Path) -> list[str]:
    """Return the paths of what lies in a folder, nothing if there is none."""
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries]
    except OSError:
        return []


def made(place: Place, artifact: Artifact, name: str) -> ExportResult | None:
    """Return the verified export of a variant as it is now, None if there is none.

    Hashes are compared when the files are read for a download; here their sizes must be the recorded ones.
    """
    folder = place.export(name)
    record = protocol.read_json(folder / RECORD)
    try:
        sound = (
            record["format"] == FORMAT
            and record["version"] == VERSION
            and record["exporter"] == name
            and record["source"]["weights_sha256"] == artifact.manifest["files"][WEIGHTS]
            and record["verification"]["relative_l2_error"] <= record["verification"]["tolerance"]
            and all((folder / file).stat().st_size == one["size_bytes"] for file, one in record["files"].items())
        )
    except (TypeError, KeyError, OSError):
        return None
    return ExportResult(folder, record) if sound else None


def _executor(settings: Settings) -> LocalExecutor:
    """Return this process's executor of exports: it keeps its children, so that they are reaped."""
    with _executors_lock:
        return _executors.setdefault((settings.results_dir, COMMAND), LocalExecutor(settings, COMMAND))
