"""Studies launched from the app: nine runs in the queue, an analysis of its own, and nothing twice."""

import json
import time

import pytest

from dqf import cli
from dqf.config import RunConfig
from dqf.data.catalog import GLUE_TASKS
from dqf.errors import ConfigError, UserError
from dqf.jobs import protocol
from dqf.settings import load_settings
from dqf.study import own
from dqf.study.files import read_summary
from tests.support.example_study import finish_run

NINE = [f"glue:{task.name}" for task in GLUE_TASKS]
CONFIG = {"seed": 3, "preset": "starter", "quantization": {"bits": [8, 4]}, "task": {"train_rows": 100}}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.delenv("DQF_DATA_DIR", raising=False)
    return load_settings(tmp_path / "results")


@pytest.fixture
def config():
    return RunConfig.from_dict(CONFIG)


def finish(settings, planned, count):
    """Give the first runs of a study results."""
    for entry in own.sweep_of(settings, planned).entries[:count]:
        finish_run(settings.runs_dir / entry.run_id, entry.run.config)


def wait_for_analysis(settings):
    until = time.monotonic() + 120
    while own.own_studies(settings)[0].analysing:
        assert time.monotonic() < until
        time.sleep(0.1)
    return own.own_studies(settings)[0]


def test_nine_tasks_are_queued_with_the_settings_of_the_form(settings, config):
    planned = own.launch(settings, config, 2)
    entries = own.sweep_of(settings, planned).entries
    assert {(entry.run.config.task.source, entry.run.config.seed) for entry in entries} == {
        (task, seed) for task in NINE for seed in (3, 4)
    }
    assert {protocol.run_state(settings.runs_dir / entry.run_id) for entry in entries} == {protocol.QUEUED}
    assert {one.run.config.measurement.shared_runtime for one in entries} == {"auto"}, "as H2 asks"
    assert {(one.run.config.task.train_rows, one.run.config.quantization.bits) for one in entries} == {(100, (8, 4))}
    (study,) = own.own_studies(settings)
    assert (study.count, study.done, study.live, study.analysed) == (18, 0, True, 0)
    with pytest.raises(UserError, match="none yet"):
        own.analyse(settings, study)


def test_a_shared_runtime_that_was_chosen_stays():
    chosen = RunConfig.from_dict({"measurement": {"shared_runtime": "openvino-packed"}})
    assert own.glue_plan(chosen, 1)["config"]["measurement"]["shared_runtime"] == "openvino-packed"


def test_the_same_launch_again_makes_no_run_twice(settings, config):
    own.launch(settings, config, 1)
    own.launch(settings, config, 1)
    assert len(list(settings.runs_dir.iterdir())) == 9
    own.launch(settings, RunConfig.from_dict(CONFIG | {"seed": 4}), 1)
    assert len(list(settings.runs_dir.iterdir())) == 18


def test_nothing_is_queued_if_anything_is_wrong(settings):
    with pytest.raises(UserError, match="1 to 10 seeds: got 0"):
        own.launch(settings, RunConfig(), 0)
    with pytest.raises(ConfigError, match="group_size"):
        own.launch(settings, RunConfig.from_dict({"quantization": {"group_size": 100}}), 1)
    assert not settings.runs_dir.exists()
    assert own.own_studies(settings) == []


def test_an_analysis_speaks_of_the_runs_that_are_done(settings, config):
    planned = own.launch(settings, config, 1)
    finish(settings, planned, 2)
    own.analyse(settings, own.own_studies(settings)[0])
    study = wait_for_analysis(settings)
    assert study.problem == ""
    assert (study.done, study.analysed) == (2, 2)
    summary = read_summary(planned.folder(settings))
    assert summary["study"]["title"] == planned.title
    assert summary["tasks"] == [task.removeprefix("glue:") for task in NINE[:2]]
    assert set(summary["verdicts"]) == {"H1", "H2", "H3"}


def test_a_failed_analysis_says_why(settings, config):
    planned = own.launch(settings, config, 1)
    finish(settings, planned, 1)
    own.analyse(settings, own.own_studies(settings)[0])
    wait_for_analysis(settings)
    finish(settings, planned, 2)
    (planned.folder(settings) / "study.json").write_text("{")
    own.analyse(settings, own.own_studies(settings)[0])
    assert "must hold a readable study.json" in wait_for_analysis(settings).problem


def test_a_plan_is_analysed_by_the_file_it_lies_in(settings, config):
    own.launch(settings, config, 1)
    file = next((settings.results_dir / "studies").glob("*.json"))
    file.rename(file.with_name("My_Study.json"))
    (study,) = own.own_studies(settings)
    assert (study.plan.name, study.file.name) == ("my-study", "My_Study.json")


def test_files_that_are_no_plan_are_left_out(settings, config):
    own.launch(settings, config, 1)
    (settings.results_dir / "studies" / "other.json").write_text('{"confg": {}}')
    (settings.results_dir / "studies" / "broken.json").write_text("{")
    assert len(own.own_studies(settings)) == 1


def test_the_command_line_knows_all_of_glue(settings, capsys):
    arguments = ["sweep", "--task", "glue:all", "--dry-run", "--json", "--results-dir", str(settings.results_dir)]
    assert cli.main(arguments) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["settings"]["task.source"] for run in runs] == NINE
