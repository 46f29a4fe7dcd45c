"""The command `study`: work the plan's runs off, write tables and summary, say what came out; or check them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dqf import terminal
from dqf.data.catalog import short_name
from dqf.errors import UserError, did_you_mean
from dqf.settings import Settings
from dqf.study.analyse import analyse
from dqf.study.check import check as check_summary
from dqf.study.check import count_values
from dqf.study.collect import collect
from dqf.study.files import STUDY, SUMMARY, read_summary, read_tables, write_study
from dqf.study.keep import keep_older
from dqf.study.plan import SUFFIXES, StudyPlan, load_plan, shipped_names
from dqf.sweeps.ahead import sharing_cores
from dqf.sweeps.command import Check, checked_runs, queue_all, show_plan, work_and_tell
from dqf.sweeps.directory import open_sweep, read_sweep, sweep_folder
from dqf.sweeps.plan import PlannedRun, expand

SHOWN_DIFFERENCES = 20


def study(arguments: argparse.Namespace, settings: Settings, check: Check) -> int:
    """Carry out `python -m dqf study`; return the exit code."""
    if arguments.check:
        return _check(_folder_to_check(arguments, settings), arguments.json)
    planned = load_plan(arguments.study)
    _refuse_like_names(expand(planned.plan).runs)
    name, out = arguments.name or f"study-{planned.name}", arguments.out or planned.folder(settings)
    if arguments.analyse:
        expansion = expand(planned.plan)
        expansion.raise_errors()
        return _analyse(planned, expansion.runs, settings, name, out, arguments.json)
    runs = checked_runs(planned.plan, settings, check)
    if arguments.dry_run:
        return show_plan(read_sweep(settings, planned.plan, runs, sweep_folder(settings, runs, name)), arguments.json)
    settings = sharing_cores(settings, arguments.train_at_once, runs)
    with open_sweep(settings, planned.plan, runs, name) as opened:
        if arguments.detach:
            print("once they are done, the same command with --analyse writes the summary.", file=sys.stderr)
            return queue_all(opened, arguments.json)
        code = work_and_tell(opened, settings, arguments.train_at_once)
    return max(code, _analyse(planned, runs, settings, name, out, arguments.json))


def _folder_to_check(arguments: argparse.Namespace, settings: Settings) -> Path:
    """Return the folder that `--check` is about: one that is given, or that of a study.

    Raises:
        UserError: it is neither.
    """
    given, shipped = Path(arguments.study), shipped_names()
    if (given / STUDY).is_file():
        return given
    if given.suffix not in SUFFIXES and arguments.study not in shipped:
        raise UserError(
            f"`--check` takes a study's folder (with a {STUDY} in it), its plan file or the name of a shipped one: got "
            f"{arguments.study!r}{did_you_mean(arguments.study, shipped)}"
        )
    return arguments.out or load_plan(arguments.study).folder(settings)


def _refuse_like_names(runs: Sequence[PlannedRun]) -> None:
    """Refuse tasks that tables could not tell apart.

    Raises:
        UserError: two sources have one short name.
    """
    sources: dict[str, str] = {}
    for source in dict.fromkeys(run.config.task.source for run in runs):
        other = sources.setdefault(short_name(source), source)
        if other != source:
            raise UserError(
                f"each task of a study needs a name of its own: {other} and {source} are both called "
                f"{short_name(source)}; rename one of the files."
            )


def _analyse(
    planned: StudyPlan, runs: list[PlannedRun], settings: Settings, name: str, out: Path, as_json: bool
) -> int:
    sweep = read_sweep(settings, planned.plan, runs, sweep_folder(settings, runs, name))
    tables = collect(sweep, planned.name, planned.title, planned.description)
    if (out / STUDY).is_file():
        tables = keep_older(tables, read_tables(out), {short_name(run.config.task.source) for run in runs})
    # What was written is what is analysed: the summary follows from the files, not from what they came from.
    write_study(out, tables, partial(analyse, progress=lambda text: print(f"{text} ...", file=sys.stderr, flush=True)))
    summary = read_summary(out) or {}
    print(json.dumps(summary, indent=1) if as_json else describe(summary))
    print(f"written to {out}", file=sys.stderr)
    return 0


def _check(folder: Path, as_json: bool) -> int:
    found = check_summary(folder)
    count = count_values(read_summary(folder))
    if as_json:
        print(json.dumps({"values": count, "differences": found}, indent=1))
    elif found:
        print("\n".join(found[:SHOWN_DIFFERENCES]))
        print(f"{len(found)} of {count} values of {folder / SUMMARY} do not follow from the tables beside it.")
    else:
        print(f"all {count} values of {folder / SUMMARY} follow from the tables beside it.")
    return 1 if found else 0


def _share(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return "-"
    return f"{row[name]:.1%} [{row[f'{name}_ci95_low']:.1%}, {row[f'{name}_ci95_high']:.1%}]"


def describe(summary: Mapping[str, Any]) -> str:
    """Return a summary as people read it: variants, verdicts, flags and notes."""
    rows = [
        (
            one["system"],
            f"{one['size_bytes'] / 1e6:.1f}",
            f"{one['compression_ratio']:.1f}x",
            f"{one['score']:.3f} [{one['score_ci95_low']:.3f}, {one['score_ci95_high']:.3f}]",
            _share(one, "retention"),
            f"{one['speedup']:.1f}x" if one["speedup"] is not None else "-",
        )
        for one in summary["variants"]
    ]
    header = ("variant", "MB", "smaller", "score [95 % interval]", "retention [95 % interval]", "faster")
    lines = [terminal.table(header, rows), ""]
    lines.append(
        f"Macro average over {', '.join(summary['tasks'])}; n = {summary['n']}; seeds "
        f"{', '.join(map(str, summary['seeds']))}; relative to {summary['baseline']['model']}, "
        f"{summary['baseline']['precision']}, {' and '.join(summary['baseline']['runtimes'])}."
    )
    for name, verdicts in summary["verdicts"].items():
        lines += [f"{name}  {one['sentence']}" for one in verdicts]
    lines += [f"Check: {flag['sentence']}" for flag in summary["sanity"]]
    lines += [f"Note: {note}" for note in summary["notes"]]
    return "\n".join(lines)
