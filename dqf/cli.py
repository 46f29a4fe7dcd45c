"""The command line: `python -m dqf run | sweep | study | list | show | resume | cancel | export | ingest | doctor`.

Results go to stdout, everything else to stderr. Exit codes: 0 fine, 1 failed, 2 bad input,
130 cancelled. Apart from `ingest` nothing here needs the store, so it works while the app holds it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from dqf import __version__, flags, registry, terminal
from dqf.config import RunConfig, merge
from dqf.config_file import read_config_file
from dqf.errors import ConfigError, UserError
from dqf.jobs import actions, protocol, views
from dqf.jobs.executor import GRACE_S, LocalExecutor
from dqf.jobs.reporter import Stop
from dqf.jobs.worker import run_in_process, stop_signals
from dqf.presets import PRESETS, preset_config
from dqf.settings import Settings, load_settings
from dqf.study.plan import add_arguments as add_study_arguments
from dqf.sweeps import command as sweep_command

OK, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parsed = build_parser().parse_args(arguments)
    try:
        with _sigterm_like_ctrl_c():
            return int(parsed.command(parsed))
    except ConfigError as error:
        print("\n".join(flags.explain(error)), file=sys.stderr)
        return BAD_INPUT
    except UserError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return CANCELLED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK
    except OSError as error:
        print(
            f"files must be there and of the right kind, and may be written: {error.filename or 'one'} could not be "
            f"used ({error.strerror or error}); mend that, or set `DQF_RESULTS_DIR` to another folder.",
            file=sys.stderr,
        )
        return FAILED


def entry() -> NoReturn:
    """Be the process `python -m dqf`: once a command has its answer, a second SIGTERM no longer replaces it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(main())


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """Let `dqf cancel` end this process as Ctrl-C does, also in the moments before a run watches for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m dqf", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--version", action="version", version=f"DQF Studio {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--results-dir", metavar="DIR", help="where runs lie (default DQF_RESULTS_DIR or results)")
    common.add_argument("--json", action="store_true", help="print JSON instead of tables")

    def add(name: str, command: Any, text: str, **options: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False, **options)
        made.set_defaults(command=command)
        return made

    run = add("run", _run, "Launch a run and wait for its result.")
    run.add_argument("--preset", metavar="NAME", help="start from " + " or ".join(preset.name for preset in PRESETS))
    run.add_argument(
        "--config", type=Path, metavar="FILE", help="start from a JSON or TOML config (such as a run's config.json)"
    )
    run.add_argument("--detach", action="store_true", help="only queue it; the app works on it")
    flags.add_flags(run)
    sweep_command.add_arguments(
        add("sweep", _sweep, "Launch a run for every combination of the given lists, and go on where it stopped.")
    )
    add_study_arguments(
        add("study", _study, "Work a study's runs off, analyse them together and judge the paper's hypotheses.")
    )
    add("list", _list, "List all runs, newest first.")
    for name, command, text in (
        ("show", _show, "Show a run: stages, and its result if it has one."),
        ("resume", _resume, "Go on with a failed, cancelled or interrupted run, in this process."),
        ("cancel", _cancel, "Stop a run."),
    ):
        add(name, command, text).add_argument("run", metavar="RUN", help="a run id, its beginning, or `latest`")
    exporting = add("export", _export, "Write a variant in another form, verified by loading it back.")
    exporting.add_argument("run", nargs="?", metavar="RUN", help="a run id, its beginning, or `latest`")
    exporting.add_argument("variant", nargs="?", metavar="VARIANT", help="for example student-dqf-gptq-4bit")
    exporting.add_argument("--list", action="store_true", help="show the formats, and for a VARIANT which it can take")
    exporting.add_argument("--format", metavar="NAME", help="one of " + ", ".join(registry.names("exporter")))
    exporting.add_argument("--out", type=Path, metavar="DIR", help="folder to make (default in the run's `exports`)")
    flags.add_exporter_flags(exporting)
    report = add("report", _report, "Write the report of one or more runs as HTML, PDF, CSV or parquet.")
    report.add_argument("runs", nargs="+", metavar="RUN", help="a run id, its beginning, or `latest`")
    report.add_argument(
        "--out", type=Path, metavar="FILE", help="its ending says the form (default dqf-report-RUN.html)"
    )
    report.add_argument("--loss", type=float, default=0.02, metavar="SHARE", help="allowed below the teacher (0.02)")
    add("ingest", _ingest, "Rebuild the store from the run directories.")
    add("doctor", _doctor, "Check this machine and say what is wanting.")
    return parser


def config_from(arguments: argparse.Namespace) -> RunConfig:
    """Return the config that preset, file and flags make, later ones laid over earlier ones.

    Raises:
        UserError: unknown preset, or a config file that is not readable.
        ConfigError: with every error found.
    """
    base: dict[str, Any] = {}
    if arguments.preset is not None or arguments.config is None:
        base = preset_config(arguments.preset or PRESETS[0].name).to_dict()
    if arguments.config is not None:
        base = flags.apply(base, read_config_file(arguments.config))
    return RunConfig.from_dict(flags.apply(base, flags.changes_of(arguments, base)))


def _run(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.results_dir)
    config = config_from(arguments)
    _check(config, settings)
    if arguments.detach:
        run_id = actions.submit(settings, config)
        print(json.dumps({"run_id": run_id, "state": protocol.QUEUED}) if arguments.json else run_id)
        print("queued; the app works on it while it runs (`make app`).", file=sys.stderr)
        return OK
    with stop_signals() as stop:
        return _work(actions.create_own(settings, config), settings, stop, arguments.json)


def _sweep(arguments: argparse.Namespace) -> int:
    return sweep_command.sweep(arguments, load_settings(arguments.results_dir), _check)


def _study(arguments: argparse.Namespace) -> int:
    from dqf.study import command as study_command

    return study_command.study(arguments, load_settings(arguments.results_dir), _check)


def _resume(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.results_dir)
    run_dir = protocol.find_run((settings.runs_dir,), arguments.run)
    _check(RunConfig.from_dict(read_config_file(run_dir / "config.json")), settings, resumed=True)
    with stop_signals() as stop:
        actions.take_over(run_dir)
        return _work(run_dir, settings, stop, arguments.json)


def _check(config: RunConfig, settings: Settings, resumed: bool = False) -> None:
    """Look at files, columns, shapes and disk before anything is made.

    Raises:
        ConfigError: with every error found.
    """
    from dqf.preflight import require

    require(config, settings, resumed)


def _work(run_dir: Path, settings: Settings, stop: Stop, as_json: bool) -> int:
    """Work on a run in this process and print its result."""
    print(f"run {run_dir.name}", file=sys.stderr, flush=True)
    printer = terminal.ProgressPrinter(sys.stderr)
    again = f"`python -m dqf resume {run_dir.name}` goes on where it stopped."
    try:
        with _stdout_to_stderr():
            state = run_in_process(run_dir, settings, printer, stop=stop)
    finally:
        printer.finish()
    if state == protocol.SUCCEEDED:
        _print_result(protocol.read_json(run_dir / "result.json"), as_json)
        return OK
    if state == protocol.CANCELLED:
        print(f"cancelled; {again}", file=sys.stderr)
        return CANCELLED
    print(f"failed: {views.read_run(run_dir).last_error}\n{again}", file=sys.stderr)
    return FAILED


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send what libraries and subprocesses print to stderr: stdout is for the result alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _print_result(result: Any, as_json: bool) -> None:
    print(
        json.dumps(result, indent=1) if as_json else terminal.result_table(result if isinstance(result, dict) else {})
    )


def _list(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.results_dir)
    found = {run.name: run for root in (settings.reference_dir, settings.runs_dir) for run in protocol.list_runs(root)}
    rows = [_summary(found[name]) for name in sorted(found, reverse=True)]
    if arguments.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        print(terminal.table(tuple(rows[0]), [[_text(value) for value in row.values()] for row in rows], left=99))
    else:
        print("no runs yet: `python -m dqf run --preset starter` makes the first one.", file=sys.stderr)
    return OK


def _summary(run_dir: Path) -> dict[str, Any]:
    config = protocol.read_json(run_dir / "config.json")
    config = merge(
        {"task": {}, "teacher": {}, "student": {}, "quantization": {}}, config if isinstance(config, dict) else {}
    )

    def value(section: str, name: str) -> Any:
        part = config.get(section)
        return part.get(name) if isinstance(part, Mapping) else None

    created = views.created_of(run_dir)
    return {
        "run_id": run_dir.name,
        "state": protocol.run_state(run_dir),
        "created": created.isoformat(sep=" ", timespec="minutes").removesuffix("+00:00") if created else None,
        "task": value("task", "source"),
        "teacher": value("teacher", "model"),
        "student": value("student", "model"),
        "bits": value("quantization", "bits"),
        "quantizer": value("quantization", "quantizer"),
        "seed": config.get("seed"),
    }


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    return "-" if value is None else str(value)


def _show(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.results_dir)
    run_dir = protocol.find_run((settings.runs_dir, settings.reference_dir), arguments.run)
    result = protocol.read_json(run_dir / "result.json")
    view = views.read_run(run_dir)
    if arguments.json:
        if result is None:
            raise UserError(f"a result is there once a run has succeeded: {view.run_id} is {view.state}.")
        _print_result(result, as_json=True)
        return OK
    print(f"run {view.run_id}: {view.state}{' (stalled)' if view.stalled else ''}")
    if view.error:
        print(f"error: {view.error}")
    if view.stages:
        rows = [
            (
                stage.title,
                stage.status,
                f"{stage.step}/{stage.total}" if stage.total else "-",
                terminal.duration(stage.seconds) if stage.seconds is not None else "-",
                stage.cache or "-",
                terminal.duration(stage.eta_s) if stage.eta_s is not None else "-",
            )
            for stage in view.stages
        ]
        print(terminal.table(("stage", "status", "step", "time", "cache", "ETA"), rows, left=2))
    if isinstance(result, dict):
        print()
        _print_result(result, as_json=False)
    return OK


def _cancel(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.results_dir)
    run_dir = protocol.find_run((settings.runs_dir,), arguments.run)
    state = actions.cancel(settings, run_dir.name)
    executor = LocalExecutor(settings)
    end = time.monotonic() + GRACE_S + 5
    while state == protocol.CANCELLING and time.monotonic() < end:
        executor.stop(run_dir)
        time.sleep(0.1)
        state = protocol.run_state(run_dir)
    answer = {"run_id": run_dir.name, "state": state}
    print(json.dumps(answer) if arguments.json else f"{run_dir.name}: {state}")
    return OK if state != protocol.CANCELLING else FAILED


def _export(arguments: argparse.Namespace) -> int:
    from dqf.exporting import command

    settings = load_settings(arguments.results_dir)
    if arguments.list:
        rows = command.formats(settings, arguments.run, arguments.variant)
        print(json.dumps(rows, indent=1) if arguments.json else command.format_table(rows))
        return OK
    with _stdout_to_stderr():
        made = command.export_variant(settings, arguments, flags.exporter_options(arguments))
    record = {"folder": str(made.folder), "size_bytes": made.size_bytes, **made.record}
    print(json.dumps(record, indent=1) if arguments.json else command.sentence(made))
    return OK


def _report(arguments: argparse.Namespace) -> int:
    from streamlit.logger import set_log_level

    set_log_level("ERROR")  # it would say at every cached call that no server runs
    from dqf.ui.report import command

    file = command.write(load_settings(arguments.results_dir), arguments.runs, arguments.out, arguments.loss)
    size = file.stat().st_size
    print(json.dumps({"file": str(file), "size_bytes": size}) if arguments.json else f"{file} ({size / 1e6:.2f} MB)")
    return OK


def _ingest(arguments: argparse.Namespace) -> int:
    from dqf.store.db import Store
    from dqf.store.ingest import rebuild

    settings = load_settings(arguments.results_dir)
    store = Store.open(settings)
    try:
        count = rebuild(store, settings)
    finally:
        store.close()
    print(json.dumps({"runs": count}) if arguments.json else f"{count} runs are in the store.")
    return OK


def _doctor(arguments: argparse.Namespace) -> int:
    from dqf.doctor import examine

    findings = examine(load_settings(arguments.results_dir))
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            print(finding)
    return FAILED if any(finding.status == "fail" for finding in findings) else OK
