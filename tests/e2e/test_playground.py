"""The Playground in a browser: models answer, and none of their processes outlives the app."""

from __future__ import annotations

import os
import re
import signal
import time

import psutil
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, open_page, settle
from tests.support.served_runs import write_served_run


def _serving(results: str) -> list[psutil.Process]:
    return [
        one
        for one in psutil.process_iter(["cmdline"])
        if "dqf.serving.server" in (one.info["cmdline"] or ()) and any(results in part for part in one.info["cmdline"])
    ]


def test_a_text_is_asked_shared_and_no_process_is_left(page: Page, app_server, tmp_path):
    run = write_served_run(tmp_path / "results" / "runs", tmp_path / "models")
    address = app_server(run.parents[1])
    page.set_viewport_size(PHONE)
    open_page(page, address, f"playground?run={run.name}&variant=teacher&variant=student-kd")
    box = page.get_by_label("Text to classify")
    box.fill("the film was great")
    box.press("Control+Enter")
    settle(page)
    page.get_by_role("button", name="Ask 2 variants").click()
    expect(page.get_by_text("2 models in memory", exact=False)).to_be_visible(timeout=60_000)
    expect(page.get_by_text(re.compile(r"All 2 say [abc], with"))).to_be_visible()
    expect(page).to_have_url(re.compile("text=the"))
    assert page.get_by_test_id("stMain").evaluate("part => part.scrollWidth - part.clientWidth") <= 0
    served = _serving(str(run))
    assert len(served) == 2
    app = served[0].ppid()
    os.kill(app, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in served):
        assert time.monotonic() < deadline
        time.sleep(0.1)
