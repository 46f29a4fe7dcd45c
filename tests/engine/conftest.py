import os

import pytest

from dqf.settings import load_settings
from tests.support.tiny import tiny_config


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    """Return a folder with tiny models and data, allowed as model and data root."""
    root = tmp_path_factory.mktemp("tiny")
    tiny_config(root)
    return root


@pytest.fixture
def tiny_env(tiny_root, monkeypatch):
    """Allow the tiny folder and use one thread."""
    for name, value in {"DQF_MODEL_DIRS": tiny_root, "DQF_DATA_DIR": tiny_root, "DQF_THREADS": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    return tiny_root


@pytest.fixture
def settings(tiny_env, tmp_path):
    return load_settings(tmp_path / "results")
