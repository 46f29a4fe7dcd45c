"""A tiny run from the form to its point on the frontier, on the real starter models."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Page, expect

from dqf.jobs import protocol
from tests.e2e.conftest import open_page, settle

MINUTES = 20
TINY = (
    ("Training rows", "64"),
    ("Evaluation rows", "40"),
    ("Latency samples", "5"),
    ("Calibration samples", "8"),
)


@pytest.mark.slow
def test_tiny_run_through_the_form_ends_as_points_on_the_frontier(page: Page, app_server, tmp_path):
    # Two threads that wait for each other beside another test's browser make a run of 4 minutes one of 19.
    address = app_server(tmp_path, env={"DQF_THREADS": "1"})
    open_page(page, address, "launch")
    page.get_by_text("Advanced settings").click()
    for label, value in TINY:
        _fill(page.get_by_label(label, exact=True), value, page)
    for position in range(2):  # the teacher's epochs come first, the student's second
        _fill(page.get_by_label("Epochs", exact=True).nth(position), "1", page)
    button = page.get_by_role("button", name="Launch", exact=True)
    expect(button).to_be_enabled()
    button.click()
    page.wait_for_url("**/runs?run=*")
    run_id = re.search(r"run=([^&]+)", page.url).group(1)
    run_dir = tmp_path / "runs" / run_id
    deadline = time.monotonic() + 60 * MINUTES
    while protocol.run_state(run_dir) in protocol.LIVE_STATES and time.monotonic() < deadline:
        page.wait_for_timeout(1000)
    assert protocol.run_state(run_dir) == protocol.SUCCEEDED, (run_dir / "worker.log").read_text()[-3000:]
    expect(page.get_by_role("tab", name="Results", exact=True)).to_have_attribute("aria-selected", "true")
    open_page(page, address, "frontier")
    points = page.locator(".js-plotly-plot .scatterlayer .points path")
    expect(points.first).to_be_visible()
    assert points.count() >= 5


def _fill(field, value: str, page: Page) -> None:
    field.fill(value)
    field.press("Enter")
    settle(page)
