"""Whole study folders for tests, analysed by the real analysis from made-up runs; never show them outside tests."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from dqf.settings import load_settings
from dqf.study.analyse import analyse
from dqf.study.collect import collect
from dqf.study.files import write_study
from dqf.study.plan import plan_of
from dqf.sweeps.command import checked_runs
from dqf.sweeps.directory import open_sweep
from tests.support.example_study import finish_run

GLUE = {
    "seed": [0, 1],
    "task": {"source": ["glue:rte", "glue:mrpc", "glue:stsb", "glue:wnli"]},
    "quantization": {"bits": [8, 4, 2]},
}
TEMPERATURES = {
    "task": {"source": ["glue:rte"]},
    "distillation": {"options": {"temperature": [1, 2, 4, 8]}},
}


def write_example_study(
    folder: Path, config: dict[str, Any] | None = None, title: str = "Made-up figures", description: str = "For tests."
) -> Path:
    """Write a study's tables and summary into a folder and return it."""
    planned = plan_of({"config": config or GLUE}, folder.name, False)
    with tempfile.TemporaryDirectory() as scratch:
        settings = load_settings(Path(scratch) / "results")
        runs = checked_runs(planned.plan, settings, lambda config, settings: None)
        with open_sweep(settings, planned.plan, runs, f"study-{folder.name}") as sweep:
            for entry in sweep.entries:
                finish_run(sweep.queue(entry), entry.run.config)
        write_study(folder, collect(sweep, folder.name, title, description), lambda tables: analyse(tables, 200))
    return folder
