"""Studies that people launch from the app: a plan file, runs in the queue, and the analysis in a process of its own.

`<results>/studies/NAME.json` is an ordinary plan, so `python -m dqf study <results>/studies/NAME.json` goes on with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dqf import preflight
from dqf.config import RunConfig, digest_of
from dqf.config_file import read_config_file
from dqf.data.catalog import GLUE_TASKS
from dqf.errors import ConfigError, UserError
from dqf.jobs import protocol
from dqf.settings import Settings
from dqf.study.files import STUDY, SUMMARY
from dqf.study.plan import StudyPlan, plan_of
from dqf.sweeps.command import checked_runs
from dqf.sweeps.directory import Sweep, open_sweep, read_sweep, sweep_folder
from dqf.sweeps.plan import expand

MOST_SEEDS = 10
ROOT = Path(__file__).resolve().parents[2]
_analyses: dict[Path, subprocess.Popen[bytes]] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class OwnStudy:
    """A study launched from the app, as its files are now.

    Attributes:
        plan: what it runs.
        file: of the plan.
        states: number of its runs by state, `planned` for those that are not made yet.
        analysed: runs that its summary speaks of.
        analysing: whether its analysis is being made.
        problem: why the last analysis of this process failed; empty if it did not.
    """

    plan: StudyPlan
    file: Path
    states: Mapping[str, int]
    analysed: int
    analysing: bool
    problem: str

    @property
    def count(self) -> int:
        """Runs in all."""
        return sum(self.states.values())

    @property
    def done(self) -> int:
        """Runs that have a result."""
        return self.states.get(protocol.SUCCEEDED, 0)

    @property
    def live(self) -> bool:
        """Whether runs wait or work."""
        return any(self.states.get(state) for state in protocol.LIVE_STATES)


def glue_plan(config: RunConfig, seeds: int) -> dict[str, Any]:
    """Return the content of a plan file: a config on each of GLUE's nine tasks, with one or several seeds.

    Args:
        config: valid; the source of its task is replaced and a shared runtime is named, the rest of it stays.
        seeds: how many, from the config's own on; the teacher of a task is the same for all.

    Raises:
        UserError: no seed, or too many.
    """
    if not 1 <= seeds <= MOST_SEEDS:
        raise UserError(f"a study takes 1 to {MOST_SEEDS} seeds: got {seeds}.")
    data = config.to_dict()
    data["preset"] = ""
    if config.measurement.shared_runtime == "none":  # H2 asks for the latency in one runtime, too
        data["measurement"]["shared_runtime"] = "auto"
    data["task"]["source"] = [f"glue:{task.name}" for task in GLUE_TASKS]
    if seeds > 1:
        data["seed"] = [config.seed + at for at in range(seeds)]
    teacher, student = (Path(one).name.rpartition(":")[2] for one in (config.teacher.model, config.student.model))
    many = f"{seeds} seeds" if seeds > 1 else f"seed {config.seed}"
    bits = ", ".join(str(one) for one in config.quantization.bits)
    return {
        "title": f"All nine GLUE tasks: {teacher} to {student}, {bits} bits, {many}",
        "description": "Launched from the app with the same settings on each of GLUE's nine tasks.",
        "config": data,
    }


def launch(settings: Settings, config: RunConfig, seeds: int) -> StudyPlan:
    """Check every run of a study over GLUE's nine tasks, keep its plan, and put its runs into the queue.

    Launching the same again goes on with what is not done yet.

    Raises:
        ConfigError: with everything that is wrong with any run; then nothing is queued.
        UserError: no seed, or another process works on the study.
    """
    data = glue_plan(config, seeds)
    name = f"glue-{digest_of(data)[:8]}"
    planned = plan_of(data, name, False)
    runs = checked_runs(planned.plan, settings, preflight.require)
    protocol.write_json(_file(settings, name), data)
    with open_sweep(settings, planned.plan, runs, _sweep_name(name)) as opened:
        for entry in opened.entries:
            opened.queue(entry)
    return planned


def own_studies(settings: Settings) -> list[OwnStudy]:
    """Return the studies launched from the app, the newest first; files that are no plan are left out."""
    files = sorted((settings.results_dir / "studies").glob("*.json"), key=lambda file: -file.stat().st_mtime)
    found = []
    for file in files:
        try:
            planned = plan_of(read_config_file(file), file.stem, False)
            found.append(_look(settings, planned, file))
        except (UserError, ConfigError):
            continue
    return found


def analyse(settings: Settings, study: OwnStudy) -> None:
    """Start the analysis of the runs that are done, unless it is being made already.

    Raises:
        UserError: no run is done yet.
    """
    if not study.done:
        raise UserError("an analysis needs a run that is done: this study has none yet; wait for the first one.")
    folder = study.plan.folder(settings)
    with _lock:
        if _running(folder):
            return
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "dqf", "study", str(study.file), "--analyse"]
        with (folder / "analysis.log").open("wb") as log:
            _analyses[folder] = subprocess.Popen(
                [*command, "--results-dir", str(settings.results_dir)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", "")))),
                },
            )


def sweep_of(settings: Settings, planned: StudyPlan) -> Sweep:
    """Return a study's sweep as its directory is now; nothing is written."""
    runs = expand(planned.plan).runs
    return read_sweep(settings, planned.plan, runs, sweep_folder(settings, runs, _sweep_name(planned.name)))


def _look(settings: Settings, planned: StudyPlan, file: Path) -> OwnStudy:
    sweep = sweep_of(settings, planned)
    folder = planned.folder(settings)
    facts = protocol.read_json(folder / STUDY) if (folder / SUMMARY).is_file() else None
    analysed = len(facts.get("runs") or ()) if isinstance(facts, dict) else 0
    states = Counter(sweep.state(entry) for entry in sweep.entries)
    return OwnStudy(planned, file, states, analysed, _running(folder), _problem(folder))


def _running(folder: Path) -> bool:
    process = _analyses.get(folder)
    return process is not None and process.poll() is None


def _problem(folder: Path) -> str:
    """Return the last line of a failed analysis."""
    process = _analyses.get(folder)
    if process is None or not process.poll():
        return ""
    try:
        lines = (folder / "analysis.log").read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it ended without a word")


def _file(settings: Settings, name: str) -> Path:
    return settings.results_dir / "studies" / f"{name}.json"


def _sweep_name(name: str) -> str:
    return f"study-{name}"
