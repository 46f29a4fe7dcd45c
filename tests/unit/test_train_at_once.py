"""Which runs' models are made at once, and what is refused before any process starts."""

import subprocess
import sys
from dataclasses import replace

import pytest

from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.settings import load_settings
from dqf.sweeps import ahead
from dqf.sweeps.directory import Entry
from dqf.sweeps.plan import Plan, expand


def runs_of(**axes):
    return expand(Plan({}, {path.replace("__", "."): values for path, values in axes.items()}, (), {})).runs


@pytest.fixture
def settings(tmp_path):
    return replace(load_settings(tmp_path / "results"), threads=4)


def test_each_process_gets_its_share_of_the_threads(settings):
    runs = runs_of(seed=(0, 1))
    assert ahead.sharing_cores(settings, 1, runs) is settings
    assert [ahead.sharing_cores(settings, count, runs).training_threads for count in (2, 3, 4)] == [2, 1, 1]
    assert ahead.sharing_cores(settings, 4, runs).threads == 4
    for count in (0, 5):
        with pytest.raises(UserError, match=f"must be 1 to 4, the threads of `DQF_THREADS`: got {count}"):
            ahead.sharing_cores(settings, count, runs)


def test_runs_that_do_not_fit_into_memory_together_are_refused(settings, monkeypatch):
    runs = runs_of(teacher__batch_size=(1, 64), seed=(0, 1))
    needs = sorted(ahead.estimate(run.config, settings).memory_bytes for run in runs)
    assert needs[-1] == needs[-2] > needs[0]
    monkeypatch.setattr(ahead, "memory_limit", lambda: 2 * needs[-1])
    ahead.sharing_cores(settings, 2, runs)
    with pytest.raises(UserError, match=r"must fit into memory together: 3 take about .* take fewer at once"):
        ahead.sharing_cores(settings, 3, runs)


def test_two_processes_do_not_wait_for_the_same_teacher(settings):
    entries = [Entry(run) for run in runs_of(task__source=("glue:rte", "glue:cola"), seed=(0, 1))]
    waiting = list(enumerate(entries, 1))
    working = []
    for _ in entries:
        number, entry = ahead._take_next(waiting, working[-1:])
        working.append(ahead._Making(number, entry, None, None, None, None, 0.0))
    assert [one.number for one in working] == [1, 3, 2, 4]
    assert [one.entry.run.config.task.source for one in working] == ["glue:rte", "glue:cola"] * 2
    only = list(enumerate(entries[:2], 1))
    first = ahead._take_next(only, [])
    assert ahead._take_next(only, [ahead._Making(*first, None, None, None, None, 0.0)])[0] == 2


def test_models_are_not_made_on_once_whoever_asked_for_them_is_gone(settings, tmp_path, monkeypatch):
    """However that ended: a process of its own session gets no signal from it."""
    monkeypatch.setenv("DQF_RESULTS_DIR", str(settings.results_dir))
    (run,) = runs_of(seed=(0,))
    protocol.write_json(tmp_path / "config.json", run.config.to_dict())
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    assert ahead.main([str(tmp_path), gone.stdout.decode()]) == 130
    assert not list(settings.results_dir.glob("cache/*"))
