"""The process that makes one export: `python -m dqf.exporting.worker JOB_DIR` (see `dqf.exporting.jobs`)."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from dqf.errors import Cancelled, UserError
from dqf.exporting.places import Place, variant_of
from dqf.failures import Advice, describe_failure, release, reserve
from dqf.jobs import protocol
from dqf.jobs.protocol import EventLog
from dqf.jobs.reporter import FileReporter
from dqf.jobs.worker import become_worker
from dqf.progress import Reporter
from dqf.redact import redact
from dqf.settings import Settings, load_settings

ADVICE = Advice(memory="end other programs and try again", disk="free some space and try again")
NICENESS = 10
"""A run that is being measured goes first."""
Maker = Callable[[Settings, Place, str, Mapping[str, Any], Reporter], None]


def make(settings: Settings, place: Place, name: str, options: Mapping[str, Any], reporter: Reporter) -> None:
    """Make and verify the export in its place."""
    from dqf.exporting.command import export_place

    export_place(settings, place, name, place.export(name), options, reporter)


def work(job: Path, settings: Settings, maker: Maker = make) -> str:
    """Make the export that a job folder asks for; return the state it ended in.

    Args:
        job: the folder, below the run's exports.
        settings: where data lies, threads.
        maker: what makes the export; tests put their own here.
    """
    become_worker(job)
    with reserve(job), FileReporter(job, EventLog(job)) as reporter:
        state, error = _attempt(job, settings, reporter, maker)
        if state == protocol.SUCCEEDED:
            protocol.write_json(job / "result.json", {"state": state})
        reporter.terminal(state, error)
    return state


def _attempt(job: Path, settings: Settings, reporter: FileReporter, maker: Maker) -> tuple[str, str]:
    """Make the export; return the state and the error sentence."""
    try:
        request = protocol.read_json(job / "config.json")
        if not isinstance(request, dict):
            raise UserError("the request for an export must be readable: it is not; start the export again.")
        place = variant_of(job.parents[2], str(request["variant"]))
        maker(settings, place, str(request["format"]), request.get("options") or {}, reporter)
        return protocol.SUCCEEDED, ""
    except (Cancelled, KeyboardInterrupt):
        return protocol.CANCELLED, ""
    except BaseException as error:
        if reporter.cancel_requested():  # a signal to the group also ends the processes it waits for
            return protocol.CANCELLED, ""
        if isinstance(error, UserError):
            return protocol.FAILED, str(error)
        release(job)
        with (job / "worker.log").open("a", encoding="utf-8") as log:
            log.write(redact(traceback.format_exc()))
        return protocol.FAILED, describe_failure(error, ADVICE)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows tidies up
    raise Cancelled("the export was asked to stop")


def main(arguments: list[str] | None = None) -> int:
    """Entry of the process."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or not (Path(given[0]) / "config.json").is_file():
        print("usage: python -m dqf.exporting.worker JOB_DIR (with a config.json)", file=sys.stderr)
        return 2
    os.nice(NICENESS)
    signal.signal(signal.SIGTERM, _stop)
    state = work(Path(given[0]).resolve(), load_settings())
    return {protocol.SUCCEEDED: 0, protocol.CANCELLED: 130}.get(state, 1)


if __name__ == "__main__":
    sys.exit(main())
