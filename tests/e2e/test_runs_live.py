"""The runs page while something happens: it follows without a reload, and tells the truth within 5 s."""

from __future__ import annotations

import json
import re
import time

from playwright.sync_api import Page, expect

from dqf.jobs import protocol
from tests.e2e.conftest import open_page, settle
from tests.support.example_runs import DEAD_PID, end_example_run, write_example_run

TRUTH_MS = 5_000


def test_progress_and_the_death_of_a_worker_show_without_a_reload(page: Page, app_server, tmp_path):
    run_dir = write_example_run(tmp_path / "runs", state=protocol.RUNNING, age_seconds=60)
    open_page(page, app_server(tmp_path), f"runs?run={run_dir.name}")
    expect(page.get_by_role("button", name="Cancel")).to_be_enabled()

    stage = next(event.stage for event in reversed(list(protocol.read_events(run_dir))) if event.stage)
    log = protocol.EventLog(run_dir)
    log.append("progress", stage=stage, step=177, total=200, eta_s=3.0, metrics={"loss": 0.21})
    expect(page.get_by_text("step 177 of 200")).to_be_visible(timeout=TRUTH_MS)
    (run_dir / "worker.log").write_text("a line that was just written\n")
    page.get_by_text("Log", exact=True).click()
    expect(page.get_by_text("a line that was just written")).to_be_visible(timeout=TRUTH_MS)

    worker = json.loads((run_dir / "worker.json").read_text())
    protocol.write_json(run_dir / "worker.json", {**worker, "pid": DEAD_PID, "started": time.time()})
    expect(page.get_by_text("The run is interrupted.")).to_be_visible(timeout=TRUTH_MS)
    expect(page.get_by_role("button", name="Resume")).to_be_enabled(timeout=TRUTH_MS)
    expect(page.get_by_role("button", name="Cancel")).to_be_disabled()


def test_the_results_of_a_run_open_when_it_ends(page: Page, app_server, tmp_path):
    run_dir = write_example_run(tmp_path / "runs", state=protocol.RUNNING, age_seconds=60)
    open_page(page, app_server(tmp_path), f"runs?run={run_dir.name}")
    expect(page.get_by_role("tab", name="Stages and log", exact=True)).to_have_attribute("aria-selected", "true")
    end_example_run(run_dir)
    expect(page.get_by_role("tab", name="Results", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tab", name="Receipts", exact=True)).to_be_visible()
    expect(page.get_by_text("Compare these variants")).to_be_visible()


def test_a_row_of_the_table_opens_its_run(page: Page, filled_app, filled_runs):
    open_page(page, filled_app, "runs")
    expect(page).to_have_url(re.compile("run=" + filled_runs["queued"].name))
    table = page.get_by_test_id("stDataFrame").first
    wanted = re.compile("run=" + filled_runs["new"].name)
    for attempt in range(5):  # late content may move the table away below the mouse
        box = table.bounding_box()
        page.mouse.click(box["x"] + 16, box["y"] + 35 * 3 + 17)  # the third row's box: the newest finished run
        try:
            expect(page).to_have_url(wanted, timeout=5_000)
            break
        except AssertionError:
            if attempt == 4:
                raise
    settle(page)
    expect(page.get_by_role("tab", name="Results", exact=True)).to_be_visible()
