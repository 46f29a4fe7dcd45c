"""`make demo`: start the app, queue the starter run, follow it, print its table; the app goes on."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path

from dqf.errors import UserError
from dqf.jobs import actions
from dqf.jobs.identity import Worker
from dqf.jobs.protocol import LIVE_STATES, SUCCEEDED, find_run, read_events, read_json, run_state, write_json
from dqf.jobs.views import read_run
from dqf.presets import preset_config, preset_names
from dqf.settings import Settings, load_settings
from dqf.terminal import ProgressPrinter, result_table

HOST = "127.0.0.1"
START_TIMEOUT_S = 90


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dqf.demo", description=__doc__)
    parser.add_argument("--preset", default="starter", choices=preset_names())
    parser.add_argument("--port", type=int, default=8501, help="first port to try")
    parser.add_argument("--stop", action="store_true", help="stop the app an earlier demo left running")
    arguments = parser.parse_args()
    try:
        settings = load_settings()
        if arguments.stop:
            return stop_app(settings)
        address = start_app(settings, arguments.port)
        run_id = actions.submit(settings, preset_config(arguments.preset))
        print(f"\n  DQF Studio is running at {address}\n  This run: {address}/runs?run={run_id}\n", flush=True)
        return follow(settings, run_id, address)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1


def start_app(settings: Settings, first_port: int) -> str:
    """Start the app in the background, or find the one that runs; return its address.

    Raises:
        UserError: it does not come up.
    """
    known = _running(settings)
    if known is not None:
        return f"http://{HOST}:{known[1]}"
    port = next(port for port in range(first_port, first_port + 100) if _free(port))
    settings.results_dir.mkdir(parents=True, exist_ok=True)
    log = settings.results_dir / "app.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "streamlit",
                "run",
                "app.py",
                "--server.port",
                str(port),
                "--server.headless",
                "true",
            ],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "DQF_RESULTS_DIR": str(settings.results_dir)},
        )
    give_up = time.monotonic() + START_TIMEOUT_S
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > give_up:
            raise UserError(f"the app must start: it did not; see {log}.")
        time.sleep(0.3)
    write_json(_app_file(settings), {**asdict(Worker.of(process.pid, 0)), "port": port})
    return f"http://{HOST}:{port}"


def stop_app(settings: Settings) -> int:
    """Stop the app an earlier demo started; running jobs go on and are found again by the next app."""
    known = _running(settings)
    if known is None:
        print("No app of an earlier demo is running.")
        return 0
    os.kill(known[0], signal.SIGTERM)
    print("Stopped the app. A run under way goes on; the next app finds it again.")
    return 0


def follow(settings: Settings, run_id: str, address: str) -> int:
    """Print a run's progress until it ends, then its table; return the exit code."""
    run_dir = find_run((settings.runs_dir,), run_id)
    printer, seen, began = ProgressPrinter(sys.stdout), -1, time.monotonic()
    state = run_state(run_dir)
    while state in LIVE_STATES:
        time.sleep(0.5)
        state = run_state(run_dir)
        for event in read_events(run_dir, seen):
            seen = event.seq
            printer(event)
    printer.finish()
    if state != SUCCEEDED:
        print(f"The run {state}: {read_run(run_dir).error or f'see {run_dir}/worker.log'}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - began:.0f} s.\n")
    print(result_table(read_json(run_dir / "result.json")))
    print(f"\nThe app goes on at {address} (stop it with `make stop`).")
    return 0


def _app_file(settings: Settings) -> Path:
    return settings.results_dir / "app.json"


def _running(settings: Settings) -> tuple[int, int] | None:
    """Return pid and port of the app an earlier demo started, None if it is gone."""
    data = read_json(_app_file(settings))
    app = Worker.read(data)
    port = data.get("port") if app is not None else None
    return (app.pid, port) if app is not None and isinstance(port, int) and app.alive() and _answers(port) else None


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/_stcore/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
