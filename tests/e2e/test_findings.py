"""The findings page in a browser."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, download, open_page, settle
from tests.support.example_studies import TEMPERATURES, write_example_study


@pytest.fixture(scope="module")
def study_app(app_server, tmp_path_factory):
    results = tmp_path_factory.mktemp("findings") / "results"
    write_example_study(results / "reference")
    write_example_study(results / "studies" / "heat", TEMPERATURES)
    return app_server(results)


def test_verdicts_charts_and_the_rows_behind_them(page: Page, study_app, tmp_path):
    open_page(page, study_app, "findings")
    for name in ("H1 · Smaller and closer", "H2 · Fastest", "H3 · Distillation protects"):
        expect(page.get_by_text(name, exact=True)).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(4)
    opener = page.locator("summary").filter(has_text="The parts at every bit-width")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("stDataFrame").locator("visible=true").first).to_be_visible()
    download(page, page.get_by_role("button", name="Download CSV").locator("visible=true").first).save_as(
        tmp_path / "rows.csv"
    )
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert set(rows["part"]) == {"smaller_student", "distillation", "quantization", "interaction", "total"}


def test_the_address_names_the_study_and_phones_see_all_of_it(page: Page, study_app):
    page.set_viewport_size(PHONE)
    open_page(page, study_app, "findings?study=heat")
    expect(page.get_by_text("What the settings change", exact=True)).to_be_visible()
    expect(page.get_by_text("Your own study")).to_be_visible()
    main = page.get_by_test_id("stMain")
    assert main.evaluate("part => part.scrollWidth - part.clientWidth") <= 0
    page.get_by_role("combobox", name="Study").click()
    page.get_by_role("option", name="reference").click()
    settle(page)
    expect(page.get_by_text("Committed with the project")).to_be_visible()
    expect(page).not_to_have_url(re.compile("study=heat"))
