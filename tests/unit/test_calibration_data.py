"""Where calibration texts come from, and that reported rows are never among them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from dqf.config import RunConfig
from dqf.data.calibration import calibration_examples
from dqf.data.tasks import CLASSIFICATION, Examples, Task
from dqf.errors import ConfigError, UserError
from dqf.sections import QuantizationConfig
from dqf.settings import load_settings


@pytest.fixture
def task():
    train = Examples(tuple(f"train {i}" for i in range(50)), None, np.zeros(50, dtype=np.int64))
    held = Examples(tuple(f"held {i}" for i in range(20)), None, np.zeros(20, dtype=np.int64))
    return Task("t", CLASSIFICATION, ("a", "b"), "accuracy", train, held)


@pytest.fixture
def settings(tmp_path):
    return dataclasses.replace(load_settings(tmp_path / "results"), data_dirs=(tmp_path,))


def test_training_rows_are_drawn_by_seed_and_number(task, settings):
    first = calibration_examples(QuantizationConfig(calibration_samples=8), task, settings)
    again = calibration_examples(QuantizationConfig(calibration_samples=8), task, settings)
    other = calibration_examples(QuantizationConfig(calibration_samples=8, calibration_seed=1), task, settings)
    assert len(first) == 8
    assert first.texts == again.texts != other.texts
    assert set(first.texts) <= set(task.train.texts)
    assert len(calibration_examples(QuantizationConfig(calibration_samples=500), task, settings)) == 50


def test_an_own_file_serves_without_the_reported_texts(task, settings, tmp_path):
    pd.DataFrame({"text": ["own 1", "held 3", "own 2", ""]}).to_csv(tmp_path / "mine.csv", index=False)
    config = QuantizationConfig(calibration=f"file:{tmp_path / 'mine.csv'}")
    assert sorted(calibration_examples(config, task, settings).texts) == ["own 1", "own 2"]


def test_c4_comes_from_a_data_folder(task, settings, tmp_path):
    (tmp_path / "c4-sample").mkdir()
    pd.DataFrame({"text": [f"web {i}" for i in range(9)]}).to_parquet(tmp_path / "c4-sample" / "train.parquet")
    config = QuantizationConfig(calibration="c4", calibration_samples=4)
    assert all(text.startswith("web") for text in calibration_examples(config, task, settings).texts)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"body": ["x"]}, "column 'text'"),
        ({"text": ["", " "]}, "must hold text"),
        ({"text": ["held 1", "held 2"]}, "are reported"),
    ],
)
def test_unusable_files_are_refused(task, settings, tmp_path, frame, message):
    pd.DataFrame(frame).to_parquet(tmp_path / "mine.parquet")
    config = QuantizationConfig(calibration=f"file:{tmp_path / 'mine.parquet'}")
    with pytest.raises(UserError, match=message):
        calibration_examples(config, task, settings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"calibration": "trainign"}, "did you mean"),
        ({"calibration": "file:notes.txt"}, "must be one of"),
        ({"bits": [5]}, "8, 4, 3, 2"),
        ({"quantizer": "smoothquant", "bits": [4]}, "must be 8"),
        ({"calibration_samples": 0}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused_before_work_starts(given, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict({"quantization": given})
