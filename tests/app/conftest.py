"""Pages in Streamlit's test harness, each with a results folder of its own and no worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dqf.jobs import supervisor as supervisors
from dqf.jobs.executor import LocalExecutor
from dqf.settings import Settings, load_settings
from tests.support.example_runs import write_example_run

ROOT = Path(__file__).resolve().parents[2]
Open = Callable[..., AppTest]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("DQF_RESULTS_DIR", str(tmp_path / "results"))
    monkeypatch.delenv("DQF_DATA_DIR", raising=False)
    monkeypatch.setattr(LocalExecutor, "start", lambda self, run_dir: False)
    st.cache_data.clear()
    st.cache_resource.clear()
    settings = load_settings()
    yield settings
    started = supervisors._supervisors.pop(settings.results_dir, None)
    if started is not None:
        started.stop()


@pytest.fixture
def open_page(settings: Settings) -> Open:
    """Return a function that opens a page by the name of its file."""

    def open_it(page: str, state: dict[str, object] | None = None, **query: str | list[str]) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        app.switch_page(f"pages/{page}.py")
        for name, value in (state or {}).items():
            app.session_state[name] = value
        for name, value in query.items():
            app.query_params[name] = value
        return app.run()

    return open_it


@pytest.fixture
def filled(settings: Settings) -> dict[str, Path]:
    """Write one run in each state that pages tell apart; the newest succeeded one has four bit-widths."""
    runs = settings.runs_dir
    return {
        "old": write_example_run(runs, label="starter-cut", age_seconds=9000),
        "sst2": write_example_run(runs, task="sst2", bits=(4, 2), seed=2, n=872, age_seconds=8000),
        "failed": write_example_run(runs, state="failed", age_seconds=7000),
        "cancelled": write_example_run(runs, state="cancelled", age_seconds=6000),
        "interrupted": write_example_run(runs, state="interrupted", age_seconds=5000),
        "new": write_example_run(runs, bits=(8, 4, 3, 2), seed=1, age_seconds=4000),
        "running": write_example_run(runs, state="running", age_seconds=100),
        "queued": write_example_run(runs, state="queued", age_seconds=10),
    }


def everything(app: AppTest) -> str:
    """Return all text a page shows outside tables and charts."""
    kinds = (
        "title",
        "header",
        "subheader",
        "markdown",
        "caption",
        "text",
        "code",
        "error",
        "warning",
        "info",
        "success",
    )
    return "\n".join(str(element.value) for kind in kinds for element in app.get(kind))
