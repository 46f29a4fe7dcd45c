"""Taking a variant away, in a browser: what is verified is downloaded whole, what fails says why by itself."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
import zipfile

import pytest
from playwright.sync_api import Page, expect

from dqf.artifacts import open_artifact
from dqf.exporting.places import variant_of
from tests.e2e.conftest import PHONE, download, open_page
from tests.support.example_artifacts import EVIL, write_example_artifact, write_example_export
from tests.support.example_runs import write_example_run

VARIANT = "student-dqf-gptq-4bit"


@pytest.fixture
def run(tmp_path):
    run_dir = write_example_run(tmp_path / "results" / "runs", bits=(4,))
    write_example_artifact(run_dir, VARIANT)
    write_example_export(variant_of(run_dir, VARIANT), "fp16-safetensors", note=EVIL)
    return run_dir


def test_verified_files_are_downloaded_and_a_failure_shows_without_a_reload(page: Page, app_server, run, tmp_path):
    address = app_server(run.parents[1])
    page.set_viewport_size(PHONE)
    open_page(page, address, f"runs?run={run.name}&part=Take%20it%20elsewhere")
    expect(page.get_by_role("tab", name="Take it elsewhere")).to_be_visible()
    expect(page.get_by_role("button", name="Make it again")).to_be_enabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for at, folder in ((0, VARIANT), (1, f"{VARIANT}-fp16-safetensors")):
        got = download(page, page.get_by_role("link", name="Download zip").nth(at))
        assert got.suggested_filename == f"{run.name}-{folder}.zip"
        got.save_as(tmp_path / "got.zip")
        with zipfile.ZipFile(tmp_path / "got.zip") as zipped:
            assert zipped.testzip() is None
            assert f"{folder}/config.json" in zipped.namelist() or f"{folder}/export.json" in zipped.namelist()
    card = download(page, page.get_by_role("button", name="Download card"))
    assert EVIL in card.path().read_text()
    page.get_by_text("Model card", exact=True).click()
    expect(page.get_by_test_id("stCode").filter(has_text="A card")).to_be_visible()
    expect(page.locator("img[src*='example.org']")).to_have_count(0)

    weights = open_artifact(run / "artifacts" / VARIANT).folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    page.get_by_role("button", name="Make it again").click()
    expect(page.get_by_text("a file must be as it was exported")).to_be_visible(timeout=120_000)
    expect(page.get_by_role("button", name="Make it again")).to_be_enabled()


def test_addresses_of_downloads_give_nothing_else(app_server, run):
    address = app_server(run.parents[1])
    base = f"{address}/downloads/{run.name}"

    def ask(url: str, host: str = "") -> tuple[int, str]:
        request = urllib.request.Request(url, headers={"Host": host} if host else {})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.headers["Content-Length"]
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    status, length = ask(f"{base}/{VARIANT}/dqf.zip")
    assert (status, int(length) > 4096) == (200, True)
    for url, words in (
        (f"{base}/{VARIANT}/gguf.zip", "must be made and verified"),
        (f"{base}/{VARIANT}/nothing.zip", "exporter must be a registered one"),
        (f"{base}/student-kd/dqf.zip", "a variant's artifact must be here"),
        (f"{base}/nobody/dqf.zip", "a variant must be one of the run's"),
        (f"{address}/downloads/elsewhere/{VARIANT}/dqf.zip", "a run must exist"),
    ):
        status, text = ask(url)
        assert status == 404
        assert re.search(words, text)
    assert ask(f"{base}/{VARIANT}/dqf.zip", host="rebound.example.org")[0] == 403
    (run / "artifacts" / VARIANT / "receipt.json").symlink_to("/etc/hostname")
    assert ask(f"{base}/{VARIANT}/dqf.zip")[0] == 404
