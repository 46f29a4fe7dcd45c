"""Code of charts and tables is asked for before a page needs it."""

from __future__ import annotations

import re

import pytest
import streamlit as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from dqf.ui.shell import ahead

PAGE = "<!DOCTYPE html><html><head><title>ü</title></head><body></head></body></html>"


@pytest.fixture
def served():
    def page(_request):
        return HTMLResponse(PAGE, headers={"ETag": '"file"', "X-Other": "kept"})

    routes = [
        Route("/", page),
        Route("/text", lambda _request: PlainTextResponse(PAGE)),
        Route("/wrong", lambda _request: HTMLResponse(PAGE, status_code=404)),
        *ahead.routes(),
    ]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(ahead.Ahead)]))


def test_this_streamlit_has_the_code_of_every_element():
    assert [name.split(".")[0] for name in ahead.chunks()] == list(ahead.ELEMENTS)


def test_a_page_gets_one_script_that_the_app_serves(served):
    page = served.get("/")
    (tag,) = re.findall(r"<script.*?</script>", page.text)
    assert page.text == PAGE.replace("</head>", f"{tag}</head>", 1)
    assert int(page.headers["content-length"]) == len(page.content)
    assert "etag" not in page.headers
    assert page.headers["x-other"] == "kept"
    script = served.get(re.search(r'src="([^"]+)"', tag)[1])
    assert script.status_code == 200
    assert script.headers["content-type"].startswith("text/javascript")
    assert all(f"/static/js/{name}" in tag for name in ahead.chunks())


def test_a_page_that_would_be_compressed_gets_it_too():
    routes = [Route("/", lambda _request: HTMLResponse(PAGE))]
    app = TestClient(Starlette(routes=routes, middleware=[Middleware(ahead.Ahead), Middleware(GZipMiddleware, 0)]))
    page = app.get("/", headers={"Accept": "text/html,*/*;q=0.8", "Accept-Encoding": "gzip"})
    assert "data-chunks" in page.text
    other = app.get("/", headers={"Accept": "*/*", "Accept-Encoding": "gzip"})
    assert other.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("path", ["/text", "/wrong", "/ahead.js"])
def test_nothing_else_is_changed(served, path):
    assert "data-chunks" not in served.get(path).text


def test_addresses_stand_below_the_path_of_the_app(monkeypatch):
    monkeypatch.setattr(st, "get_option", lambda name: "/studio/" if name == "server.baseUrlPath" else None)
    (route,) = ahead.routes()
    assert route.path == "/studio/ahead.js"
    app = TestClient(
        Starlette(routes=[Route("/", lambda _request: HTMLResponse(PAGE))], middleware=[Middleware(ahead.Ahead)])
    )
    assert 'src="/studio/ahead.js"' in app.get("/").text
    assert 'data-chunks="/studio/static/js/' in app.get("/").text
