"""The Shelf in a browser: take a file away, read its card, delete it after a second yes."""

from __future__ import annotations

import zipfile

from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, download, open_page, settle
from tests.support.example_artifacts import write_example_artifact
from tests.support.example_runs import write_example_run

VARIANT = "student-dqf-gptq-4bit"


def test_an_artifact_is_downloaded_read_about_and_deleted(page: Page, app_server, tmp_path):
    run = write_example_run(tmp_path / "results" / "runs", n=20)
    write_example_artifact(run, VARIANT)
    page.set_viewport_size(PHONE)
    open_page(page, app_server(run.parents[1]), f"shelf?run={run.name}")
    assert page.get_by_test_id("stMain").evaluate("part => part.scrollWidth - part.clientWidth") <= 0
    got = download(page, page.get_by_role("link", name="Download zip"))
    got.save_as(tmp_path / "got.zip")
    with zipfile.ZipFile(tmp_path / "got.zip") as zipped:
        assert f"{VARIANT}/model.safetensors" in zipped.namelist()
    page.get_by_text("Model card", exact=True).click()
    settle(page)
    expect(page.get_by_test_id("stCode").filter(has_text="packed artifact")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    settle(page)
    page.get_by_role("button", name="Delete for good").click()
    settle(page)
    expect(page.get_by_text("No artifact is here")).to_be_visible()
    assert not (run / "artifacts" / VARIANT).exists()
