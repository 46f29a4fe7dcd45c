"""Reports in a browser: all four forms are downloaded; the HTML file draws itself with no network at all."""

from __future__ import annotations

import pandas as pd
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, download, open_page


def test_every_form_is_downloaded_and_the_html_needs_no_network(page: Page, filled_app, filled_runs, tmp_path):
    page.set_viewport_size(PHONE)
    open_page(page, filled_app, f"reports?run={filled_runs['sst2'].name}")
    assert page.get_by_test_id("stMain").evaluate("part => part.scrollWidth - part.clientWidth") <= 0
    for name, suffix in (("HTML", "html"), ("PDF", "pdf"), ("CSV", "csv"), ("Parquet", "parquet")):
        got = download(page, page.get_by_role("button", name=name, exact=True))
        assert got.suggested_filename == f"dqf-report-{filled_runs['sst2'].name}.{suffix}"
        got.save_as(tmp_path / f"report.{suffix}")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert len(pd.read_csv(tmp_path / "report.csv")) == len(pd.read_parquet(tmp_path / "report.parquet")) == 7

    asked: list[str] = []
    problems: list[str] = []
    report = page.context.new_page()  # the app's own tab may still be asking for parts of itself
    report.set_viewport_size(PHONE)
    report.on("request", lambda request: asked.append(request.url))
    report.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    report.goto(f"file://{tmp_path / 'report.html'}")
    expect(report.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    expect(report.locator(".js-plotly-plot")).to_have_count(4)
    assert report.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert problems == []
