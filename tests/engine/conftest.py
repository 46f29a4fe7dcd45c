import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dqf.settings import Settings, load_settings
from tests.support.tiny import tiny_config
from tests.support.tiny_runs import launch


class Finished(NamedTuple):
    """A run that succeeded, and where its stages are cached."""

    settings: Settings
    run_dir: Path
    result: dict[str, Any]


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    """Return a folder with tiny models and data, allowed as model and data root."""
    root = tmp_path_factory.mktemp("tiny")
    tiny_config(root)
    return root


def allow(patch: pytest.MonkeyPatch, root: Path) -> Path:
    """Allow the tiny folder and use one thread."""
    for name, value in {"DQF_MODEL_DIRS": root, "DQF_DATA_DIR": root, "DQF_THREADS": 1}.items():
        patch.setenv(name, str(value))
    patch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    return root


@pytest.fixture
def tiny_env(tiny_root, monkeypatch):
    return allow(monkeypatch, tiny_root)


@pytest.fixture
def settings(tiny_env, tmp_path):
    return load_settings(tmp_path / "results")


@pytest.fixture(scope="session")
def undisturbed(tiny_root, tmp_path_factory) -> Finished:
    """Make the run of the tiny config as it is, once for all that compare with it: a run takes half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        allow(patch, tiny_root)
        settings = load_settings(tmp_path_factory.mktemp("undisturbed") / "results")
        return Finished(settings, *launch(settings, tiny_root))
