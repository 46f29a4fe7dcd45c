"""The real app in a process of its own, and a real browser that may talk to nobody else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Download, Locator, Page, TimeoutError, expect

from dqf.doctor import find_chromium
from dqf.jobs import protocol
from tests.support.example_runs import write_example_run

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
    "--disable-quic",
]
RUN_PARTS = ("Receipts", "Take%20it%20elsewhere", "Stages%20and%20log", "Config")
"""Tabs of a finished run that are not open at first, as addresses name them."""
PHONE = {"width": 390, "height": 844}
StartApp = Callable[..., str]
expect.set_options(timeout=20_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in Path(str(item.fspath)).parts:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    """Use the system's chromium; pytest-playwright takes it from here."""
    chromium = find_chromium()
    if not chromium:
        pytest.fail("browser tests need chromium: none was found; run `python -m dqf doctor` or set DQF_CHROMIUM.")
    return {"executable_path": chromium, "args": ARGUMENTS, "headless": True}


@pytest.fixture(scope="package")
def app_server() -> Iterator[StartApp]:
    """Return a function that starts the app on a results folder and returns its address.

    `app_server(results_dir, env={...})`; every server is stopped, with its process group, at the end.
    """
    servers: list[subprocess.Popen[bytes]] = []

    def start(results_dir: Path, env: dict[str, str] | None = None, port: int = 0) -> str:
        port = port or _free_port()
        results_dir.mkdir(parents=True, exist_ok=True)
        with (results_dir / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
                cwd=ROOT,
                env={**os.environ, "DQF_RESULTS_DIR": str(results_dir), "OMP_NUM_THREADS": "1", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        servers.append(server)
        address = f"http://127.0.0.1:{port}"
        _wait_until_up(address, server, results_dir / "server.log")
        return address

    yield start
    for server in servers:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


@pytest.fixture(scope="package")
def filled_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write runs for the tests that only read; the running one keeps the queue from starting anything."""
    runs = tmp_path_factory.mktemp("filled") / "runs"
    return {
        "old": write_example_run(runs, label="starter-cut", age_seconds=9000),
        "sst2": write_example_run(runs, task="sst2", bits=(4, 2), seed=2, n=872, age_seconds=8000),
        "failed": write_example_run(runs, state=protocol.FAILED, age_seconds=7000),
        "new": write_example_run(runs, bits=(8, 4, 3, 2), seed=1, age_seconds=4000),
        "running": write_example_run(runs, state=protocol.RUNNING, age_seconds=100),
        "queued": write_example_run(runs, state=protocol.QUEUED, age_seconds=10),
    }


@pytest.fixture(scope="package")
def filled_app(app_server: StartApp, filled_runs: dict[str, Path]) -> str:
    """Return the address of an app over the filled results."""
    return app_server(filled_runs["new"].parents[1])


@pytest.fixture(scope="package")
def empty_app(app_server: StartApp, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of an app over an empty results folder."""
    return app_server(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def context(context: BrowserContext) -> Iterator[BrowserContext]:
    """Fail any test in which the browser asked another host for anything, or our policy refused what a page needs."""
    asked: list[str] = []
    refused: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda line: refused.append(line.text) if "Content Security Policy" in line.text else None)
    yield context
    assert refused == []
    outside = [url for url in asked if urlsplit(url).scheme in ("http", "https", "ws", "wss") and not _local(url)]
    assert outside == []


def _local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost")


def open_page(page: Page, address: str, path: str = "") -> None:
    """Open a page and wait until its script has ended and its parts are drawn."""
    page.goto(f"{address}/{path}")
    settle(page)


def settle(page: Page) -> None:
    """Wait until the script is not running and nothing is a placeholder any more."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=30_000)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def download(page: Page, button: Locator) -> Download:
    """Click until a download begins: a click is lost when late content moves the button under the pointer."""
    for _ in range(3):
        settle(page)
        try:
            with page.expect_download(timeout=20_000) as waiting:
                button.click()
            return waiting.value
        except TimeoutError:
            continue
    raise AssertionError(f"no download began: {button}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_until_up(address: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the app did not start: {log.read_text(errors='replace')[-2000:]}")
