"""What people can do to a run; the same for web page and command line."""

from __future__ import annotations

import signal
from pathlib import Path

from dqf.config import RunConfig
from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.jobs.claims import claim
from dqf.jobs.processes import send_signal
from dqf.settings import Settings


def submit(settings: Settings, config: RunConfig) -> str:
    """Put a config into the queue.

    Args:
        settings: where the results lie.
        config: a validated config; `dqf.preflight.check` it before.

    Returns:
        The id of the new run.
    """
    return protocol.create_run(settings.runs_dir, config.to_dict(), label_of(config)).name


def cancel(settings: Settings, run_id: str) -> str:
    """Ask a run to stop; a run that has ended is left as it is, so asking twice is harmless.

    A worker that does not stop by itself is killed by the supervisor after a grace time.

    Returns:
        The state right after asking.

    Raises:
        UserError: there is no such run.
    """
    run_dir = protocol.find_run((settings.runs_dir,), run_id)
    if protocol.run_state(run_dir) not in protocol.LIVE_STATES:
        return protocol.run_state(run_dir)
    if protocol.cancel_requested(run_dir):  # asking anew would start the grace time anew
        return protocol.run_state(run_dir)
    protocol.request_cancel(run_dir)
    worker = protocol.read_worker(run_dir)
    if worker is not None:
        send_signal(worker, signal.SIGTERM)
    return protocol.run_state(run_dir)


def resume(settings: Settings, run_id: str) -> str:
    """Put an ended run back into the queue; finished stages come from the cache.

    Returns:
        The run's full id.

    Raises:
        UserError: there is no such run, it still lives, or it has succeeded.
    """
    run_dir = protocol.find_run((settings.runs_dir,), run_id)
    with claim(run_dir):
        protocol.prepare_resume(run_dir)
    return run_dir.name


def retry(settings: Settings, run_id: str) -> str:
    """Put a new run with the same config into the queue.

    Returns:
        The id of the new run.

    Raises:
        UserError: there is no such run, or its config is not readable.
        ConfigError: its config is no longer valid.
    """
    run_dir = protocol.find_run((settings.runs_dir, settings.reference_dir), run_id)
    data = protocol.read_json(run_dir / "config.json")
    if not isinstance(data, dict):
        raise UserError(f"a run can be repeated only if its config.json is readable: that of {run_dir.name} is not.")
    return submit(settings, RunConfig.from_dict(data))


def create_own(settings: Settings, config: RunConfig) -> Path:
    """Make a run that this process works on itself, so that no supervisor takes it from the queue.

    Returns:
        The run directory; `dqf.jobs.worker.run_in_process` goes on from here.
    """
    run_dir = settings.runs_dir / protocol.new_run_id(label_of(config))
    run_dir.mkdir(parents=True)
    protocol.write_worker(run_dir)
    protocol.write_json(run_dir / "config.json", config.to_dict())
    return run_dir


def take_over(run_dir: Path) -> None:
    """Make this process the worker of a queued or ended run.

    Raises:
        UserError: the run still lives or has succeeded.
    """
    with claim(run_dir):
        if protocol.run_state(run_dir) != protocol.QUEUED:
            protocol.prepare_resume(run_dir)
        protocol.write_worker(run_dir)


def label_of(config: RunConfig) -> str:
    """Return what a run id says about a config: the preset's name or the student's."""
    return config.preset or config.student.model.rstrip("/").rsplit("/", 1)[-1].removeprefix("starter:")
