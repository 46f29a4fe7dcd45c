"""What a queued run is said to wait for."""

from dqf.settings import load_settings
from dqf.sweeps.directory import Sweep, making_ahead
from dqf.sweeps.work import reason_to_wait


def test_a_run_waits_for_the_one_at_work_or_for_models_made_ahead(tmp_path):
    settings = load_settings(tmp_path)
    assert reason_to_wait(settings, "") == ""
    folder = settings.results_dir / "sweeps" / "temperatures"
    folder.mkdir(parents=True)
    with making_ahead(Sweep(folder, None, [], "", settings.runs_dir)):
        assert "until the models of the sweep temperatures are made" in reason_to_wait(settings, "")
        assert "for another to end" in reason_to_wait(settings, "another")
    assert reason_to_wait(settings, "") == ""
