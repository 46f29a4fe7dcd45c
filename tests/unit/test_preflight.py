import shutil

import pytest

from dqf.config import RunConfig
from dqf.estimate import estimate
from dqf.preflight import check
from dqf.settings import load_settings
from tests.support.tiny import tiny_config


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DQF_MODEL_DIRS", str(tmp_path))
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path))
    return tmp_path


def errors(root, **changes):
    config = RunConfig.from_dict(tiny_config(root, **changes))
    return {error.path: error.message for error in check(config, load_settings(root / "results"))}


def test_a_good_config_has_no_errors(root):
    assert errors(root) == {}


def test_all_errors_come_at_once_and_name_their_settings(root):
    found = errors(
        root, teacher={"model": str(root / "nowhere")}, quantization={"group_size": 24}, task={"label_column": "lable"}
    )
    assert set(found) == {"teacher.model", "quantization.group_size", "task.source"}
    assert "`label`" in found["task.source"]
    assert "32 and 24" in found["quantization.group_size"]
    assert not any("\n" in message for message in found.values())


def test_layers_and_disk(root, monkeypatch):
    assert "student.keep_layers" in errors(root, student={"model": "teacher-layers", "keep_layers": "9"})
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 0))
    assert "free some" in errors(root)[""]


def test_estimated_sizes_are_those_of_the_arithmetic(root):
    config = RunConfig.from_dict(tiny_config(root, quantization={"bits": [8, 4, 3, 2]}))
    found = estimate(config, load_settings(root / "results"))
    assert len(found.variants) == 11
    packed = [row for row in found.variants if row.variant == "student-dqf"]
    assert [row.bits for row in packed] == [8, 4, 3, 2]
    assert packed[0].size_bytes > packed[1].size_bytes > packed[2].size_bytes > packed[3].size_bytes
    assert found.seconds > 0
    assert found.memory_bytes > 0
