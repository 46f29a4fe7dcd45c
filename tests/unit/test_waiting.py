"""What a queued run is said to wait for."""

from dqf.settings import load_settings
from dqf.sweeps.directory import Sweep, making_ahead
from dqf.sweeps.work import reason_to_wait
from tests.support.example_runs import write_example_run


def test_a_run_waits_for_the_one_at_work_or_for_models_made_ahead(tmp_path):
    settings = load_settings(tmp_path)
    queued = write_example_run(settings.runs_dir, state="queued").name
    assert reason_to_wait(settings, queued) == ""
    folder = settings.results_dir / "sweeps" / "temperatures"
    folder.mkdir(parents=True)
    with making_ahead(Sweep(folder, None, [], "", settings.runs_dir)):
        assert "until the models of the sweep temperatures are made" in reason_to_wait(settings, queued)
        running = write_example_run(settings.runs_dir, state="running", age_seconds=100).name
        assert f"for {running} to end" in reason_to_wait(settings, queued)
        assert "temperatures" in reason_to_wait(settings, running), "a run does not wait for itself"
    assert reason_to_wait(settings, running) == ""
