"""The process that works on one run: `python -m dqf.jobs.worker RUN_DIR`.

Web page and command line share `run_in_process`: it becomes the run's worker, calls the pipeline,
and writes how it ended, so that both leave the same files.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from dqf.config import RunConfig
from dqf.errors import Cancelled, UserError
from dqf.failures import Advice, describe_failure, release, reserve
from dqf.jobs import protocol
from dqf.jobs.claims import claim
from dqf.jobs.protocol import EventLog
from dqf.jobs.reporter import FileReporter, Listener, Stop
from dqf.progress import Reporter
from dqf.redact import redact
from dqf.settings import Settings, load_settings

Pipeline = Callable[[RunConfig, Path, Settings, Reporter], Any]

ADVICE = Advice(
    memory="use a smaller batch size (`--teacher-batch-size`, `--student-batch-size`) or shorter inputs "
    "(`--max-length`) and resume",
    disk="free some space and resume; finished stages are kept",
)


def run_in_process(
    run_dir: Path,
    settings: Settings,
    extra_listener: Listener | None = None,
    pipeline: Pipeline | None = None,
    stop: Stop | None = None,
) -> str:
    """Work on a run in this process and return the state it ended in.

    Errors of the run are recorded, not raised. SIGTERM and SIGINT (the first one) stop it at its next
    report; what was computed stays in the stage cache.

    Args:
        run_dir: a directory with config.json.
        settings: where results, data and models lie.
        extra_listener: gets every event, for example to print it.
        pipeline: what to run instead of `dqf.pipeline.run_pipeline`; tests use it.
        stop: of `stop_signals`, if the caller watches for signals since before it made the run.

    Returns:
        succeeded, failed or cancelled.

    Raises:
        UserError: another live process works on the run already.
    """
    if stop is None:
        with stop_signals() as stop:
            return run_in_process(run_dir, settings, extra_listener, pipeline, stop)
    become_worker(run_dir)
    with reserve(run_dir), FileReporter(run_dir, EventLog(run_dir), extra_listener, stop) as reporter:
        state, error = _attempt(run_dir, settings, reporter, pipeline)
        if (run_dir / "result.json").is_file():
            state, error = protocol.SUCCEEDED, ""
        reporter.terminal(state, error)
    return state


def become_worker(run_dir: Path) -> None:
    """Record this process as the run's worker.

    Raises:
        UserError: another live process is recorded.
    """
    with claim(run_dir):
        other = protocol.read_worker(run_dir)
        if other is not None and other.pid != os.getpid() and other.alive():
            raise UserError(
                f"a run can have one worker at a time: process {other.pid} works on {run_dir.name}; "
                "wait for it or cancel the run."
            )
        protocol.write_worker(run_dir)


def _attempt(run_dir: Path, settings: Settings, reporter: FileReporter, pipeline: Pipeline | None) -> tuple[str, str]:
    """Run the pipeline; return the state and the error sentence."""
    try:
        data = protocol.read_json(run_dir / "config.json")
        if not isinstance(data, dict):
            raise UserError("config.json must be a JSON object: it is not; launch the run again.")
        config = RunConfig.from_dict(data)
        reporter.check_cancelled()
        (pipeline or _real_pipeline())(config, run_dir, settings, reporter)
    except (Cancelled, KeyboardInterrupt):
        return protocol.CANCELLED, ""
    except UserError as error:
        return protocol.FAILED, str(error)
    except BaseException as error:
        if reporter.cancel_requested():  # a signal to the group also ends subprocesses the pipeline waits for
            return protocol.CANCELLED, ""
        release(run_dir)
        with (run_dir / "worker.log").open("a", encoding="utf-8") as log:
            log.write(redact(traceback.format_exc()))
        return protocol.FAILED, describe_failure(error, ADVICE)
    if not (run_dir / "result.json").is_file():
        return protocol.FAILED, "the pipeline ended without a result: this is a bug, please report it with the log."
    return protocol.SUCCEEDED, ""


def _real_pipeline() -> Pipeline:
    """Import the pipeline only when it is needed: it loads torch."""
    from dqf.pipeline import run_pipeline

    pipeline: Pipeline = run_pipeline
    return pipeline


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Note SIGTERM and the first SIGINT for a run to stop at its next report; a second Ctrl-C interrupts at once.

    Whoever makes a run opens this first: a signal between making and working would leave it interrupted.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, _: FrameType | None) -> None:
        stop.asked = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> int:
    """Entry of the worker process."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or not (Path(given[0]) / "config.json").is_file():
        print("usage: python -m dqf.jobs.worker RUN_DIR (with a config.json)", file=sys.stderr)
        return 2
    run_dir = Path(given[0]).resolve()
    print(f"--- worker {os.getpid()} started {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", file=sys.stderr, flush=True)
    try:
        state = run_in_process(run_dir, load_settings())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"--- worker {os.getpid()} ended: {state}", file=sys.stderr, flush=True)
    return {protocol.SUCCEEDED: 0, protocol.CANCELLED: 130}.get(state, 1)


if __name__ == "__main__":
    sys.exit(main())
