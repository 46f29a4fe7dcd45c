"""What people do with the finished pages, in a browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from dqf.ui.shell.ahead import chunks
from tests.e2e.conftest import PHONE, open_page, settle

PAGES = {
    "": "DQF Studio",
    "launch": "Launch",
    "runs": "Runs",
    "frontier": "Frontier",
    "compare": "Compare",
    "scenarios": "Scenarios",
    "playground": "Playground",
    "reports": "Reports",
    "findings": "Findings",
    "shelf": "Shelf",
    "sql": "SQL",
}


@pytest.mark.parametrize(("path", "title"), [("frontier", "Frontier"), ("runs", "Runs")])
def test_cold_deep_link_to_a_fresh_server(page: Page, app_server, tmp_path, path, title):
    """The very first request of a server goes straight to the page."""
    open_page(page, app_server(tmp_path), path)
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Overview")).to_be_visible()


@pytest.mark.parametrize(("path", "title"), PAGES.items())
@pytest.mark.parametrize("filling", ["empty", "filled"])
def test_every_page_loads(page: Page, request, path, title, filling):
    open_page(page, request.getfixturevalue(f"{filling}_app"), path)
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    expect(page).to_have_title(re.compile("DQF Studio|" + title))


@pytest.mark.parametrize("path", ["", "launch"])
def test_code_of_charts_and_tables_is_there_before_a_page_needs_it(page: Page, filled_app, path):
    """Of every element, wherever one comes in; the browser would tell of a refused script."""
    open_page(page, filled_app, path)
    page.wait_for_function(
        "names => names.every(name => performance.getEntriesByName(location.origin + '/static/js/' + name).length)",
        arg=chunks(),
        timeout=60_000,
    )
    expect(page.locator(".js-plotly-plot")).to_have_count(0)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("filling", ["empty", "filled"])
def test_no_page_is_wider_than_a_phone(page: Page, request, path, filling):
    page.set_viewport_size(PHONE)
    open_page(page, request.getfixturevalue(f"{filling}_app"), path)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    main = page.get_by_test_id("stMain")
    assert main.evaluate("part => part.scrollWidth - part.clientWidth") <= 0


def test_selected_points_go_to_the_basket_and_to_compare(page: Page, filled_app, filled_runs):
    open_page(page, filled_app, "frontier")
    points = page.locator(".js-plotly-plot .scatterlayer .points path")
    expect(points.first).to_be_visible()
    _click_point(page, points.last)
    add = page.get_by_role("button", name=re.compile("Add 1 to basket"))
    expect(add).to_be_enabled()
    add.click()
    settle(page)
    compare = page.get_by_role("button", name="Compare (1)")
    expect(compare).to_be_enabled()
    compare.click()
    page.wait_for_url("**/compare?pick=*")
    settle(page)
    expect(page.get_by_text("Side by side", exact=True)).to_be_visible()
    expect(page.get_by_test_id("stMultiSelect").get_by_role("button").first).to_be_visible()
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    settle(page)
    expect(page.get_by_text("Side by side", exact=True)).to_be_visible()


def test_filters_are_in_the_address_and_come_back(page: Page, filled_app):
    open_page(page, filled_app, "frontier")
    page.get_by_role("button", name="Student-DQF").click()
    settle(page)
    page.get_by_role("button", name="2-bit").click()
    settle(page)
    page.get_by_role("radio", name="Latency").or_(page.get_by_role("button", name="Latency")).first.click()
    settle(page)
    expect(page).to_have_url(re.compile("method=Student-DQF.*"))
    expect(page).to_have_url(re.compile("bits=2-bit"))
    expect(page).to_have_url(re.compile("x=Latency"))
    page.reload()
    settle(page)
    expect(page).to_have_url(re.compile("bits=2-bit"))
    expect(page.get_by_text("Fastest within 2 pp of the teacher")).to_be_visible()
    expect(page.locator(".js-plotly-plot .scatterlayer .points path").first).to_be_visible()
    legend = page.locator(".js-plotly-plot .legendtext")
    expect(legend.filter(has_text="Student-DQF")).to_have_count(1)
    expect(legend.filter(has_text="Teacher")).to_have_count(0)


def test_three_dimensional_view_opens(page: Page, filled_app):
    open_page(page, filled_app, "frontier?view=3-D")
    expect(page.locator(".js-plotly-plot .gl-container, .js-plotly-plot canvas").first).to_be_attached()
    expect(page.get_by_text("Drag to turn")).to_be_visible()


def test_run_page_shows_the_run_of_the_address_and_its_progress(page: Page, filled_app, filled_runs):
    running = filled_runs["running"].name
    open_page(page, filled_app, f"runs?run={running}")
    expect(page.get_by_test_id("stText").filter(has_text=running).first).to_be_visible()
    expect(page.get_by_role("progressbar").first).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_enabled()
    expect(page.get_by_role("button", name="Resume")).to_be_disabled()
    page.get_by_text("Log", exact=True).click()
    expect(page.get_by_test_id("stCode").first).to_be_visible()


def test_all_errors_appear_beside_their_fields(page: Page, empty_app):
    open_page(page, empty_app, "launch")
    for label, value in (("Alpha", "3"), ("Group size", "100")):
        field = page.get_by_label(label, exact=True)
        field.fill(value)
        field.press("Enter")
        settle(page)
    expect(page.get_by_text("must be at most 1: got 3.").first).to_be_visible()
    expect(page.get_by_text("2 settings need your attention")).to_be_visible()
    expect(page.get_by_role("button", name="Launch", exact=True)).to_be_disabled()


def test_a_model_that_is_not_listed_can_be_typed(page: Page, empty_app):
    open_page(page, empty_app, "launch")
    field = page.get_by_role("combobox", name="Teacher")
    field.click()
    field.fill("./no/such/folder")
    field.press("Enter")
    settle(page)
    expect(page.get_by_text("./no/such/folder").last).to_be_visible()
    expect(page.get_by_role("button", name="Launch", exact=True)).to_be_disabled()


def test_pages_are_reached_by_keyboard(page: Page, filled_app):
    open_page(page, filled_app)
    link = page.get_by_role("link", name="Frontier", exact=True)
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/frontier**")
    settle(page)
    expect(page.get_by_role("heading", name="Frontier", exact=True)).to_be_visible()


def _click_point(page: Page, point) -> None:
    """Click where a marker is drawn; plotly listens on a layer above it."""
    point.scroll_into_view_if_needed()
    settle(page)
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(200)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    settle(page)


def test_an_uploaded_table_becomes_a_task(page: Page, empty_app):
    rows = "\n".join(f"sentence number {i},{'good' if i % 2 else 'bad'}" for i in range(200))
    open_page(page, empty_app, "launch")
    page.get_by_role("combobox", name="Task").click()
    page.get_by_role("option", name=re.compile("Own CSV")).click()
    settle(page)
    page.locator('input[type="file"]').set_input_files(
        {"name": "../my data.csv", "mimeType": "text/csv", "buffer": f"text,label\n{rows}\n".encode()}
    )
    expect(page.get_by_role("textbox", name="Path of the file")).to_have_value(
        re.compile(r"/uploads/my-data-[0-9a-f]{8}\.csv$")
    )
    expect(page.get_by_role("combobox", name="Text column", exact=True)).to_be_visible()
    expect(page.get_by_text("All checks passed")).to_be_visible()


def test_a_second_app_on_the_same_results_says_so_and_still_shows_them(page: Page, app_server, filled_app, filled_runs):
    results = filled_runs["new"].parents[1]
    open_page(page, app_server(results))
    expect(page.get_by_text("The database is not available.", exact=False)).to_be_visible()
    expect(page.get_by_text("one app at a time", exact=False)).to_be_visible()
    expect(page.get_by_text("Verified").first).to_be_visible()
    open_page(page, page.url.rstrip("/"), f"runs?run={filled_runs['failed'].name}")
    expect(page.get_by_text("The run is failed.")).to_be_visible()


def test_flipped_examples_are_filtered_and_read_by_keyboard(page: Page, filled_app, filled_runs):
    run = filled_runs["new"].name
    picks = "&".join(f"pick={run}/{variant}" for variant in ("teacher", "student-kd", "student-dqf-gptq-2bit"))
    open_page(page, filled_app, f"compare?{picks}")
    expect(page.get_by_text("Is the difference real?", exact=True)).to_be_visible()
    lost = page.get_by_role("radio", name=re.compile(r"Right → wrong \(")).or_(
        page.get_by_role("button", name=re.compile(r"Right → wrong \("))
    )
    lost.first.focus()
    page.keyboard.press("Enter")
    settle(page)
    expect(page.get_by_text(re.compile(r"Example \d+ · Right → wrong"))).to_be_visible()
    expect(page.get_by_text("The texts cannot be shown on this machine", exact=False)).to_be_visible()


def test_limits_are_set_by_keyboard_answered_and_shared(page: Page, filled_app):
    open_page(page, filled_app, "frontier?within=10.0")
    expect(page.get_by_text("Smallest within 10 pp of the teacher")).to_be_visible()
    slider = page.get_by_role("slider", name="Slowest answer, p50 (ms)")
    slider.focus()
    for _ in range(40):
        slider.press("ArrowLeft")
    settle(page)
    expect(page.get_by_text("no variant fits; the closest is")).to_be_visible()
    expect(page).to_have_url(re.compile("max_ms="))
    page.reload()
    settle(page)
    expect(page.get_by_text("no variant fits; the closest is")).to_be_visible()
