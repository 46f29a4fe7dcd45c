"""The Scenarios page on a phone."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, open_page, settle


def test_scenarios_lead_to_the_rows_they_cite(page: Page, filled_app, filled_runs):
    page.set_viewport_size(PHONE)
    open_page(page, filled_app, f"scenarios?run={filled_runs['new'].name}&within=10.0")
    expect(page.get_by_text(re.compile(f"^Row {filled_runs['new'].name}/"))).to_have_count(4)
    assert page.get_by_test_id("stMain").evaluate("part => part.scrollWidth - part.clientWidth") <= 0
    page.get_by_role("link", name="Compare these rows").click()
    page.wait_for_url("**/compare?pick=*")
    settle(page)
    expect(page.get_by_text("Side by side", exact=True)).to_be_visible()
