"""Sweeps and study folders for tests, analysed by the real analysis from made-up runs; never show them outside."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dqf.settings import Settings, load_settings
from dqf.study.analyse import analyse
from dqf.study.collect import collect
from dqf.study.files import read_summary, write_study
from dqf.study.plan import plan_of
from dqf.sweeps.command import checked_runs
from dqf.sweeps.directory import Sweep, open_sweep
from dqf.sweeps.plan import PlannedRun
from tests.support.example_study import finish_run

NAMES = ("rte", "mrpc", "stsb", "wnli")
TASKS = {"source": [f"glue:{name}" for name in NAMES]}
GLUE = {"seed": [0, 1], "task": TASKS, "quantization": {"bits": [8, 4, 2]}}
CONFIG = {"seed": [0, 1], "task": TASKS, "quantization": {"bits": [8, 4]}}
TEMPERATURES = {
    "task": {"source": ["glue:rte"]},
    "distillation": {"options": {"temperature": [1, 2, 4, 8]}},
}
RESAMPLES = 100


def make_sweep(
    settings: Settings,
    config: dict[str, Any] | None = None,
    leave_out: Callable[[PlannedRun], bool] = lambda run: False,
    name: str = "mine",
    **changes: Any,
) -> Sweep:
    """Return the sweep of a study whose runs have finished, but for those left out."""
    planned = plan_of({"config": config or CONFIG}, name, False)
    runs = checked_runs(planned.plan, settings, lambda config, settings: None)
    with open_sweep(settings, planned.plan, runs, f"study-{name}") as sweep:
        for entry in sweep.entries:
            if not leave_out(entry.run):
                finish_run(sweep.queue(entry), entry.run.config, **changes)
    return sweep


def make_study(
    settings: Settings, folder: Path, config: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """Write the study of such a sweep into a folder and return its summary."""
    tables = collect(make_sweep(settings, config, **changes), "mine", "Mine", "")
    write_study(folder, tables, lambda tables: analyse(tables, RESAMPLES))
    return read_summary(folder) or {}


def write_example_study(
    folder: Path, config: dict[str, Any] | None = None, title: str = "Made-up figures", description: str = "For tests."
) -> Path:
    """Write a study's tables and summary into a folder and return it."""
    with tempfile.TemporaryDirectory() as scratch:
        sweep = make_sweep(load_settings(Path(scratch) / "results"), config or GLUE, name=folder.name)
        write_study(folder, collect(sweep, folder.name, title, description), lambda tables: analyse(tables, 200))
    return folder
