"""The demo finds the app of an earlier one, and takes no other process for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from dqf import demo
from dqf.jobs.identity import Worker
from dqf.jobs.protocol import write_json
from dqf.settings import load_settings


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, format, *args):
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_the_app_of_an_earlier_demo_is_found(tmp_path, port):
    settings = load_settings(tmp_path)
    write_json(tmp_path / "app.json", {**asdict(Worker.of(os.getpid(), 0)), "port": port})
    assert demo._running(settings) == (os.getpid(), port)


@pytest.mark.parametrize(
    "change", [{"after_boot_s": -100.0, "create_time": 0.0}, {"port": 1}, {"pid": "x"}, {"port": None}]
)
def test_another_process_or_port_is_not_it(tmp_path, port, change):
    settings = load_settings(tmp_path)
    write_json(tmp_path / "app.json", {**asdict(Worker.of(os.getpid(), 0)), "port": port, **change})
    assert demo._running(settings) is None


def test_nothing_runs_where_no_demo_was(tmp_path, capsys):
    assert demo.stop_app(load_settings(tmp_path)) == 0
    assert "No app" in capsys.readouterr().out


def test_a_bad_setting_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("DQF_THREADS", "many")
    monkeypatch.setattr("sys.argv", ["demo", "--stop"])
    assert demo.main() == 1
    assert "DQF_THREADS" in capsys.readouterr().err
