"""The SQL page in a browser."""

from __future__ import annotations

import re

import pandas as pd
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, download, open_page, settle


def test_a_query_is_run_by_keyboard_drawn_and_downloaded(page: Page, filled_app, tmp_path):
    open_page(page, filled_app, "sql")
    editor = page.get_by_role("textbox", name="Query")
    editor.fill("SELECT variant, count(*) AS n FROM variants GROUP BY variant ORDER BY variant")
    editor.press("Control+Enter")
    settle(page)
    expect(page.get_by_text("5 rows, 2 columns", exact=False)).to_be_visible(timeout=60_000)
    expect(page.locator(".js-plotly-plot")).to_be_visible()
    download(page, page.get_by_role("button", name="Parquet")).save_as(tmp_path / "rows.parquet")
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows["variant"].tolist() == ["student-dqf", "student-ft", "student-kd", "student-ptq", "teacher"]
    expect(page).to_have_url(re.compile("sql=SELECT"))


def test_a_shared_query_waits_to_be_run_and_a_refusal_is_a_sentence(page: Page, filled_app):
    page.set_viewport_size(PHONE)
    open_page(page, filled_app, "sql?sql=COPY%20runs%20TO%20'x.csv'")
    expect(page.get_by_text("Run a query to see its rows here.")).to_be_visible()
    page.get_by_role("button", name="Run the query").click()
    settle(page)
    expect(page.get_by_text("a query must be a SELECT: got COPY", exact=False)).to_be_visible(timeout=60_000)
    main = page.get_by_test_id("stMain")
    assert main.evaluate("part => part.scrollWidth - part.clientWidth") <= 0
