"""The commands `sweep` and, for what they share, `study`: plan, check, show, work off."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from dqf import flags, terminal
from dqf.config import RunConfig, digest_of, merge
from dqf.config_file import read_config_file
from dqf.data.catalog import GLUE_TASKS
from dqf.errors import ConfigError, FieldError, UserError
from dqf.jobs import protocol
from dqf.jobs.executor import Executor, LocalExecutor
from dqf.jobs.protocol import Event
from dqf.jobs.views import read_run
from dqf.presets import PRESETS, preset_config
from dqf.settings import Settings
from dqf.sweeps.ahead import make_ahead, sharing_cores
from dqf.sweeps.directory import Entry, Sweep, open_sweep, read_sweep, sweep_folder
from dqf.sweeps.plan import PRESET, Override, Plan, PlannedRun, expand, nested, shared_work, split_lists
from dqf.sweeps.work import count_states, work_off

TASK, ALL_OF_GLUE = "task.source", "glue:all"
Check = Callable[[RunConfig, Settings], None]
"""Looks at files before anything is made; raises ConfigError."""
make_executor: Callable[[Settings], Executor] = LocalExecutor
"""How runs get their processes; tests put their own here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a sweep is told."""
    parser.add_argument(
        "--preset", metavar="NAMES", help="start from " + " or ".join(one.name for one in PRESETS) + ", or several"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="start from a JSON or TOML config; a list is an axis"
    )
    add_working_arguments(parser)
    flags.add_flags(parser, many=True)


def add_working_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how to work a sweep off."""
    parser.add_argument("--name", default="", metavar="NAME", help="of the sweep's folder (default: from its runs)")
    parser.add_argument("--dry-run", action="store_true", help="check everything and show the runs, start none")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--train-at-once",
        type=int,
        default=1,
        metavar="N",
        help="first make the models of so many runs at once, each on its share of the cores, then measure the runs one "
        "after the other (default: 1, a run after the other as a whole)",
    )
    how.add_argument("--detach", action="store_true", help="only queue the runs; the app works on them")


def plan_from(arguments: argparse.Namespace) -> Plan:
    """Return the plan that presets, file and flags make, later ones laid over earlier ones.

    Raises:
        UserError: the file is not readable.
    """
    base: dict[str, Any] = {}
    axes: dict[str, tuple[Any, ...]] = {}
    overrides: tuple[Override, ...] = ()
    if arguments.config is not None:
        data = read_config_file(arguments.config)
        overrides = read_overrides(data.pop("overrides", ()))
        base, axes = split_lists(data)
    presets = [name.strip() for name in (arguments.preset or "").split(",") if name.strip()]
    if not presets and arguments.config is None:
        presets = [PRESETS[0].name]
    for name in presets:
        preset_config(name)
    if presets:
        base.pop(PRESET, None)
        axes = {PRESET: tuple(presets), **{path: values for path, values in axes.items() if path != PRESET}}
    fixed: dict[str, Any] = {}
    for path, given in flags.values_of(arguments).items():
        values = with_all_of_glue(given) if path == TASK else given
        axes.pop(path, None)
        if len(values) > 1:
            axes[path] = tuple(values)
        else:
            fixed = merge(fixed, nested(path, values[0]))
    if len(axes.get(PRESET, ())) == 1:
        base = {PRESET: axes.pop(PRESET)[0], **base}
    return Plan(base, axes, overrides, fixed)


def with_all_of_glue(tasks: Sequence[str]) -> list[str]:
    """Return tasks, all nine in the place of `glue:all`."""
    nine = [f"glue:{task.name}" for task in GLUE_TASKS]
    return [one for task in tasks for one in (nine if task == ALL_OF_GLUE else [task])]


def read_overrides(given: Any) -> tuple[Override, ...]:
    """Return the overrides of a file: a list of `{when: {path: value or list}, set: {partial config}}`.

    Raises:
        UserError: it is something else.
    """
    overrides = []
    for one in given if isinstance(given, list | tuple) else [given]:
        if not (isinstance(one, Mapping) and one.keys() == {"when", "set"} and all(map(_is_mapping, one.values()))):
            raise UserError(f"an override must be an object with `when` and `set`: got {str(one)[:80]}.")
        when = {path: tuple(value) if isinstance(value, list) else (value,) for path, value in one["when"].items()}
        overrides.append(Override(when, dict(one["set"])))
    return tuple(overrides)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def sweep(arguments: argparse.Namespace, settings: Settings, check: Check) -> int:
    """Carry out `python -m dqf sweep`; return the exit code."""
    plan = plan_from(arguments)
    runs = checked_runs(plan, settings, check)
    if arguments.dry_run:
        return show_plan(read_sweep(settings, plan, runs, sweep_folder(settings, runs, arguments.name)), arguments.json)
    settings = sharing_cores(settings, arguments.train_at_once, runs)
    with open_sweep(settings, plan, runs, arguments.name) as opened:
        if arguments.detach:
            return queue_all(opened, arguments.json)
        code = work_and_tell(opened, settings, arguments.train_at_once)
        show_runs(opened, arguments.json)
        return code


def checked_runs(plan: Plan, settings: Settings, check: Check) -> list[PlannedRun]:
    """Return all runs, each valid and with its files in place.

    Raises:
        ConfigError: with every error of every run.
    """
    expansion = expand(plan)
    print(f"checking {len(expansion.runs)} runs ...", file=sys.stderr, flush=True)
    for idle in expansion.idle:
        told = " and ".join(f"{path} = {', '.join(map(str, values))}" for path, values in idle.when.items())
        print(f"no run matches the override for {told}: its settings are left out.", file=sys.stderr, flush=True)
    answers: dict[str, tuple[FieldError, ...]] = {}
    for run in expansion.runs:
        key = _checked_part(run.config)
        if key not in answers:
            try:
                check(run.config, settings)
                answers[key] = ()
            except ConfigError as error:
                answers[key] = error.errors
        expansion.add(run.label, answers[key])
    expansion.raise_errors()
    return expansion.runs


def _checked_part(config: RunConfig) -> str:
    """Return the digest of what a look at files can depend on; seeds are not among it."""
    data = config.to_dict()
    del data["seed"], data["preset"]
    return digest_of(merge(data, {"teacher": {"seed": 0}}))


def show_plan(planned: Sweep, as_json: bool) -> int:
    """Print what a sweep would run."""
    runs = [entry.run for entry in planned.entries]
    shared = shared_work(runs)
    if as_json:
        print(json.dumps({"name": planned.name, "shared": shared, "runs": _rows(planned)}, indent=1))
        return 0
    print(_table(planned))
    work = ", ".join(f"{name} {count}" for name, count in shared.items())
    print(f"{len(runs)} runs; to train in all: {work}; what is in the stage cache already is not trained again.")
    return 0


def queue_all(opened: Sweep, as_json: bool) -> int:
    """Put all runs that are not done into the app's queue."""
    for entry in opened.entries:
        opened.queue(entry)
    show_runs(opened, as_json)
    print("queued; the app works on them while it runs (`make app`).", file=sys.stderr)
    return 0


def make_ahead_and_tell(opened: Sweep, settings: Settings, at_once: int) -> None:
    """Make the models of runs ahead, telling on stderr how far it is."""
    count = len(opened.entries)
    printers: dict[int, terminal.ProgressPrinter] = {}

    def started(number: int, entry: Entry) -> Callable[[Event], None]:
        print(f"models of run {number}/{count}  {entry.run.label}", file=sys.stderr, flush=True)
        printers[number] = terminal.ProgressPrinter(sys.stderr, f"{number}/{count} ", live=False)
        return printers[number]

    def ended(number: int, _: Entry, code: int, seconds: float) -> None:
        how = "made" if code == 0 else f"not made (exit code {code}; the run itself will try again)"
        print(f"models of run {number}/{count} {how} after {terminal.duration(seconds)}", file=sys.stderr, flush=True)

    make_ahead(opened, settings, at_once, started, ended)


def work_and_tell(opened: Sweep, settings: Settings, at_once: int = 1) -> int:
    """Work a sweep off, telling on stderr how far it is; return the exit code.

    Args:
        opened: the sweep.
        settings: where things lie; of `sharing_cores` where models are made several at once.
        at_once: so many runs' models are made at once, before any run is measured; 1: a run after the other.
    """
    count = len(opened.entries)
    done = count_states(opened).get(protocol.SUCCEEDED, 0)
    print(f"sweep {opened.name}: {count} runs, {done} done already", file=sys.stderr, flush=True)
    printers: list[terminal.ProgressPrinter] = []
    measured_s: list[float] = []

    def started(number: int, entry: Entry) -> Callable[[Event], None]:
        print(f"run {number}/{count}  {entry.run.label}  ({entry.run_id})", file=sys.stderr, flush=True)
        printers.append(terminal.ProgressPrinter(sys.stderr, f"{number}/{count} "))
        return printers[-1]

    def ended(number: int, entry: Entry, state: str, seconds: float) -> None:
        printers[-1].finish()
        measured_s.append(seconds)
        error = read_run(opened.run_dir(entry)).last_error if state == protocol.FAILED else ""
        left = sum(opened.state(one) != protocol.SUCCEEDED for one in opened.entries[number:])
        eta = f"; about {terminal.duration(left * mean(measured_s))} left for {left} runs" if left else ""
        why = f": {error}" if error else ""
        print(f"run {number}/{count} {state} after {terminal.duration(seconds)}{why}{eta}", file=sys.stderr, flush=True)

    try:
        if at_once > 1:
            make_ahead_and_tell(opened, settings, at_once)
        states = work_off(opened, make_executor(settings), started, ended)
    except KeyboardInterrupt:
        for printer in printers[-1:]:
            printer.finish()
        print("stopped; the same command goes on where it stopped.", file=sys.stderr)
        raise
    bad = {state: number for state, number in states.items() if state != protocol.SUCCEEDED}
    if bad:
        told = ", ".join(f"{number} {state}" for state, number in bad.items())
        print(f"{told} of {count} runs; the same command tries them again.", file=sys.stderr)
    return 1 if bad else 0


def show_runs(opened: Sweep, as_json: bool) -> None:
    """Print the runs of a sweep with their states."""
    if as_json:
        print(json.dumps({"name": opened.name, "folder": str(opened.folder), "runs": _rows(opened)}, indent=1))
    else:
        print(_table(opened))


def _rows(planned: Sweep) -> list[dict[str, Any]]:
    return [
        {"run_id": entry.run_id or None, "state": planned.state(entry), "settings": dict(entry.run.settings)}
        for entry in planned.entries
    ]


def _table(planned: Sweep) -> str:
    rows: Sequence[Sequence[str]] = [
        (str(number), planned.state(entry), entry.run_id or "-", entry.run.label or "-")
        for number, entry in enumerate(planned.entries, 1)
    ]
    return terminal.table(("#", "state", "run", "settings"), rows, left=4)
