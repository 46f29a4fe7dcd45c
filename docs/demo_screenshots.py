"""The screenshots of docs/demo.md: `python docs/demo_screenshots.py` makes them again from results/reference.

Needs requirements-dev.txt and chromium. The app runs over a copy of the shipped figures in a temporary folder, so
nobody's own runs appear. Pages that need a model's weights are left out: figures ship, weights do not.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "demo"
SIZE = {"width": 1280, "height": 860}
SHOTS = (
    ("1-overview", "", ""),
    ("2-launch", "launch", ""),
    ("3-frontier", "frontier?within=2.0&max_mb=15", ""),
    ("4-scenarios", "scenarios", ""),
    ("5-receipts", "runs?run={run}&part=Receipts", "Quantized variant"),
    ("6-findings", "findings", "Student-DQF at 4-bit"),
    ("7-report", "reports", ""),
)
"""File, address, and the text to scroll to (empty: the top)."""


def main() -> int:
    """Start the app, take the screenshots, stop the app."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        shutil.copytree(ROOT / "results" / "reference", Path(folder) / "reference")
        run = sorted(path.parent.name for path in Path(folder, "reference").glob("*/result.json"))[-1]
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
            cwd=ROOT,
            env={**os.environ, "DQF_RESULTS_DIR": folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(port)
            with sync_playwright() as playwright:
                chromium = os.environ.get("DQF_CHROMIUM") or shutil.which("chromium")
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
                page = browser.new_page(viewport=SIZE, color_scheme="light")
                page.set_default_timeout(60_000)
                for name, address, text in SHOTS:
                    page.goto(f"http://127.0.0.1:{port}/{address.format(run=run)}")
                    _take(page, FOLDER / f"{name}.png", text)
                browser.close()
        finally:
            server.terminate()
            server.wait()
    return 0


def _take(page: Page, file: Path, text: str) -> None:
    """Wait until the page is drawn, and keep what is seen of it in a palette."""
    page.wait_for_selector('[data-test-script-state="notRunning"]')
    page.locator('[data-testid="stSkeleton"]').first.wait_for(state="detached")
    time.sleep(3)  # charts draw themselves after the script has ended
    if text:
        page.get_by_text(text).first.scroll_into_view_if_needed()
        page.get_by_text(text).first.evaluate("element => element.scrollIntoView({block: 'start'})")
        time.sleep(1)
    image: Any = Image.open(io.BytesIO(page.screenshot()))
    # Median cut, the default, lets the few pixels of a legend take the color of their neighbor.
    colors = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    colors.save(file, optimize=True)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} kB")


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the app did not start; `make app` says why.")


if __name__ == "__main__":
    sys.exit(main())
