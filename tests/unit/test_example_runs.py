import pytest

from dqf.jobs import protocol
from tests.support.example_runs import write_example_run


@pytest.mark.parametrize("state", protocol.STATES)
def test_example_run_is_in_the_state_asked_for(tmp_path, state):
    assert protocol.run_state(write_example_run(tmp_path, state=state)) == state


@pytest.mark.parametrize("task", ["bbc-headlines", "cola", "stsb"])
def test_example_run_has_all_variants(tmp_path, task):
    run_dir = write_example_run(tmp_path, task=task, bits=(4, 2), label="starter-cut")
    result = protocol.read_json(run_dir / "result.json")
    assert [v["variant"] for v in result["variants"]].count("student-dqf") == 2
    assert all((run_dir / v["predictions"]).is_file() for v in result["variants"])
