"""A run of tiny models and an own file, from the form to its point on the frontier: nothing is mocked."""

from __future__ import annotations

import re
import time

from playwright.sync_api import Page, expect

from dqf.jobs import protocol
from tests.e2e.conftest import open_page, settle
from tests.support.tiny import tiny_config

MINUTES = 10
SETTINGS = (
    ("Longest input", "32"),  # the tiny models have 64 positions
    ("Latency samples", "5"),
    ("Calibration samples", "8"),
    ("Group size", "16"),  # the tiny layers are 32 wide
)


def test_a_run_through_the_form_ends_as_points_on_the_frontier(page: Page, app_server, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    tiny_config(models)
    # Two threads that wait for each other beside another test's browser take five times as long as one.
    address = app_server(tmp_path / "results", env={"DQF_THREADS": "1", "DQF_MODEL_DIRS": str(models)})
    open_page(page, address, "launch")
    page.get_by_text("Advanced settings").click()
    settle(page)
    for label, value in SETTINGS:
        _fill(page.get_by_label(label, exact=True), value, page)
    _choose(page, "Task", "Own CSV, JSONL or parquet file")
    page.locator('input[type="file"]').set_input_files(models / "data.csv")
    expect(page.get_by_role("combobox", name="Text column", exact=True)).to_be_visible()
    settle(page)
    for role in ("teacher", "student"):
        _choose(page, role.capitalize(), str(models / role))
    button = page.get_by_role("button", name="Launch", exact=True)
    expect(button).to_be_enabled()
    button.click()
    page.wait_for_url("**/runs?run=*")
    run_id = re.search(r"run=([^&]+)", page.url).group(1)
    run_dir = tmp_path / "results" / "runs" / run_id
    deadline = time.monotonic() + 60 * MINUTES
    while protocol.run_state(run_dir) in protocol.LIVE_STATES and time.monotonic() < deadline:
        page.wait_for_timeout(1000)
    assert protocol.run_state(run_dir) == protocol.SUCCEEDED, (run_dir / "worker.log").read_text()[-3000:]
    expect(page.get_by_role("tab", name="Results", exact=True)).to_have_attribute("aria-selected", "true")
    open_page(page, address, "frontier")
    points = page.locator(".js-plotly-plot .scatterlayer .points path")
    expect(points.first).to_be_visible()
    assert points.count() >= 5


def _choose(page: Page, label: str, value: str) -> None:
    field = page.get_by_role("combobox", name=label, exact=True)
    field.click()
    field.fill(value)
    field.press("Enter")
    settle(page)


def _fill(field, value: str, page: Page) -> None:
    field.fill(value)
    field.press("Enter")
    settle(page)
