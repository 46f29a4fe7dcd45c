"""The dashboard at 10 000 variants in 2 000 runs, in a real browser.

    python benchmarks/dashboard.py [fill | store | browser | bare | all] [--work DIR] [--runs 2000]

`fill` writes made-up run directories (figures of the test support, never shown elsewhere), `store` times taking
them in and every query, `browser` starts the app over them and times pages and filters, eight sessions at once
and the memory of the web process, while another process keeps one core busy as a training would. A page is
there when its script has ended and its parts are drawn; switches and filters are timed by the browser's clock,
from the click to then. Somebody who comes looks at the first page for some seconds (`READING_S`) before going
on; who was here before has the code of the pages in the browser's cache (`returning`). `bare` times apps with
nothing of ours in them (`_bare_apps.py`): what of those times is Streamlit's and the browser's. Figures go to
benchmarks/results/dashboard.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
FILE = ROOT / "benchmarks" / "results" / "dashboard.json"
READING_S = 5.0
PAGES = ("Runs", "Frontier", "Compare", "Launch", "Overview")
READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'
WATCH = """heading => { window.dqfTook = new Promise((done, failed) => {
  const there = () => [...document.querySelectorAll('h1')].some(one => one.textContent.trim() === heading);
  setTimeout(() => failed(new Error('not drawn within 30 s')), 30000);
  const clicked = () => {
    const began = performance.now();
    let ran = !there();
    const look = () => {
      const state = document.querySelector('[data-testid="stApp"]').getAttribute('data-test-script-state');
      ran = ran || state === 'running';
      if (!ran || state !== 'notRunning' || !there() || document.querySelector('[data-testid="stSkeleton"]')) return;
      observer.disconnect();
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
    };
    const observer = new MutationObserver(look);
    observer.observe(document.body, {subtree: true, childList: true, attributes: true});
  };
  document.addEventListener('click', clicked, {capture: true, once: true});
}); }"""
BUSY = "import numpy as np\na = np.ones((600, 600))\nwhile True: a @ a"


def fill(work: Path, runs: int) -> None:
    """Write run directories: copies of a few made-up runs under other names and with other figures."""
    from dqf.jobs import protocol
    from tests.support.example_runs import write_example_run

    root = work / "results" / "runs"
    shutil.rmtree(work, ignore_errors=True)
    tasks = ("sst2", "bbc-headlines", "rte", "mrpc")
    templates = [
        write_example_run(work / "templates", task=task, seed=seed, n=100) for task in tasks for seed in range(3)
    ]
    loaded = [(path, protocol.read_json(path / "result.json")) for path in templates]
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(runs):
        template, result = loaded[number % len(loaded)]
        name = f"{begin + timedelta(minutes=7 * number):%Y%m%d-%H%M%S}-starter-{number:04x}"
        run = root / name
        shutil.copytree(template, run, copy_function=os.link)
        for row in result["variants"]:
            row["latency_ms_p50"] *= 1 + 0.002 * ((number % 7) - 3)
            row["score"] = min(1.0, row["score"] * (1 + 0.0003 * ((number % 11) - 5)))
        (run / "result.json").unlink()
        (run / "result.json").write_text(json.dumps({**result, "run_id": name}))
    print(f"{runs} runs, {5 * runs} variants in {root}")


def store(work: Path) -> None:
    """Time taking all runs in and each query of the pages."""
    from dqf.settings import load_settings
    from dqf.store import queries
    from dqf.store.db import Store
    from dqf.store.ingest import sync

    settings = load_settings(work / "results")
    settings.database.unlink(missing_ok=True)
    opened = Store.open(settings)
    began = time.perf_counter()
    runs = sync(opened, settings)
    record("store_rebuild", time.perf_counter() - began, "s", None, runs, "store")
    times = [_timed(lambda: sync(opened, settings)) for _ in range(5)]
    record("store_look_for_changes", 1e3 * statistics.median(times), "ms", None, len(times), "store")
    for query in (queries.runs, queries.variants, queries.scores):
        times = [_timed(lambda query=query: query(opened)) for _ in range(15)]
        record(f"store_query_{query.__name__}_p50", 1e3 * statistics.median(times), "ms", 50, len(times), "store")
    opened.close()


def browser(work: Path) -> None:
    """Time pages, filters and sessions in a real browser."""
    import psutil

    with _served(ROOT, work) as (server, address, chrome):
        page = chrome.new_context().new_page()
        page.goto(address)  # the first visit of all warms the server up
        _ready(page)
        first = []
        for _ in range(3):
            page.context.close()
            page = chrome.new_context().new_page()
            first.append(_timed(lambda page=page: (page.goto(address), _ready(page))))
        record("first_page_warm_p50", statistics.median(first), "s", 2, len(first), "browser")
        time.sleep(READING_S)
        again = []
        for _ in range(3):
            tab = page.context.new_page()
            again.append(_timed(lambda tab=tab: (tab.goto(address), _ready(tab))))
            tab.close()
        record("first_page_returning_p50", statistics.median(again), "s", 2, len(again), "browser")
        _switches(page, "page_switch", "browser")
        _filters(page, f"{address}/frontier", "filter_change", "browser")
        _sessions(chrome, address)
        record("web_process_memory", psutil.Process(server.pid).memory_info().rss / 1e6, "MB", 600, 1, "browser")


@contextmanager
def _served(folder: Path, work: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, Any]]:
    """Serve the `app.py` of a folder beside a process that keeps one core busy; yield server, address and browser."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true", "--server.port", str(port)],
        cwd=folder,
        env={**os.environ, "DQF_RESULTS_DIR": str(work / "results"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    busy = subprocess.Popen([sys.executable, "-c", BUSY], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    try:
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            chrome = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            _wait_for(address)
            yield server, address, chrome
            chrome.close()
    finally:
        for process in (server, busy):
            process.kill()
            process.wait()


def bare(work: Path) -> None:
    """Time an app of two pages with next to nothing in them, and one of our pages' elements that computes nothing."""
    from benchmarks import _bare_apps

    _bare_apps.write_bare(work / "bare")
    with _served(work / "bare", work) as (_, address, chrome):
        first, switches, filters = [], {name: [] for name in _bare_apps.PAGES}, []
        for _ in range(3):
            page = chrome.new_context().new_page()
            first.append(_timed(lambda page=page: (page.goto(address), _ready(page))))
            time.sleep(READING_S)
            for _ in range(5):
                for name in reversed(switches):
                    link = page.get_by_role("link", name=name.capitalize(), exact=True).first
                    switches[name].append(_clicked(page, link, name.capitalize()))
            _clicked(page, page.get_by_role("link", name="Chart", exact=True).first, "Chart")
            for name in ("one", "two", "three", "one"):
                button = page.get_by_role("button", name=name, exact=True).first
                filters.append(_clicked(page, button, "Chart"))
            page.context.close()
    record("bare_first_page_p50", statistics.median(first), "s", None, len(first), "bare")
    for name, times in switches.items():
        print(f"  to {name}: {[round(one) for one in times]} ms", flush=True)
        record(f"bare_switch_to_{name}_p50", statistics.median(times), "ms", None, len(times), "bare")
    print(f"  filter: {[round(one) for one in filters]} ms", flush=True)
    record("bare_filter_change_p50", statistics.median(filters), "ms", None, len(filters), "bare")
    _bare_apps.write_same_parts(work / "same-parts", work / "results")
    with _served(work / "same-parts", work) as (_, address, chrome):
        page = chrome.new_context().new_page()
        page.goto(address)
        _ready(page)
        time.sleep(READING_S)
        _switches(page, "same_parts_page_switch", "bare")
        _filters(page, f"{address}/frontier", "same_parts_filter_change", "bare")


def _switches(page: Any, figure: str, part: str) -> None:
    times = []
    for _ in range(3):
        for name in PAGES:
            heading = "DQF Studio" if name == "Overview" else name
            times.append(_clicked(page, page.get_by_role("link", name=name, exact=True).first, heading))
            print(f"  to {name}: {times[-1]:.0f} ms", flush=True)
    _percentiles(figure, times, part)


def _filters(page: Any, address: str, figure: str, part: str) -> None:
    page.goto(address)
    _ready(page)
    time.sleep(READING_S)
    times = []
    for _ in range(8):
        for name in ("Student-DQF", "4-bit", "Student-KD"):
            button = page.get_by_role("button", name=name, exact=True).first
            times.append(_clicked(page, button, "Frontier"))
            print(f"  filter {name}: {times[-1]:.0f} ms", flush=True)
    _percentiles(figure, times, part)


def _sessions(chrome: Any, address: str) -> None:
    pages = [chrome.new_context().new_page() for _ in range(8)]
    for page, path in zip(pages, ("", "runs", "frontier", "compare", "launch", "findings", "sql", "runs"), strict=True):
        page.goto(f"{address}/{path}", wait_until="commit")
    errors = 0
    for page in pages:
        _ready(page, 60_000)
        errors += page.get_by_test_id("stException").count()
    record("errors_of_8_sessions", errors, "errors", 0, len(pages), "browser")


def _ready(page: Any, timeout: int = 30_000) -> None:
    page.wait_for_selector(READY, timeout=timeout)
    page.locator('[data-testid="stSkeleton"]').first.wait_for(state="detached", timeout=timeout)


def _clicked(page: Any, target: Any, heading: str) -> float:
    """Click and return the milliseconds until the page of that heading has run and is drawn."""
    page.evaluate(WATCH, heading)
    target.click()
    return float(page.evaluate("window.dqfTook"))


def _percentiles(name: str, times: list[float], part: str) -> None:
    """Record median and 95th percentile; only our own have targets."""
    ordered = sorted(times)
    most = (300, 800) if part == "browser" else (None, None)
    last = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    record(f"{name}_p50", statistics.median(ordered), "ms", most[0], len(ordered), part)
    record(f"{name}_p95", last, "ms", most[1], len(ordered), part)


def _wait_for(address: str) -> None:
    import urllib.request

    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the app did not start")


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def record(name: str, value: float, unit: str, target: float | None, n: int, part: str) -> None:
    """Add a figure or replace the one of the same name."""
    from dqf.environment import describe

    row = {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "target": target,
        "n": n,
        "command": f"python benchmarks/dashboard.py {part}",
        "machine": f"{describe('cpu', os.cpu_count() or 1)['cpu']}, {os.cpu_count()} cores",
    }
    kept = json.loads(FILE.read_text()) if FILE.is_file() else []
    FILE.write_text(json.dumps([one for one in kept if one["name"] != name] + [row], indent=1) + "\n")
    met = "" if target is None else " (met)" if value <= target else " (MISSED)"
    print(f"{name}: {value:.3f} {unit}{met}", flush=True)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=("fill", "store", "browser", "bare", "all"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "dqf-dashboard-benchmark")
    parser.add_argument("--runs", type=int, default=2000)
    arguments = parser.parse_args()
    if arguments.part in ("fill", "all"):
        fill(arguments.work, arguments.runs)
    if arguments.part in ("store", "all"):
        store(arguments.work)
    if arguments.part in ("browser", "all"):
        browser(arguments.work)
    if arguments.part in ("bare", "all"):
        bare(arguments.work)


if __name__ == "__main__":
    main()
