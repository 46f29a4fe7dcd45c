"""The app's sockets send at once."""

from __future__ import annotations

import socket

import psutil
import pytest

from dqf.ui.shell.sockets import send_at_once


def test_connections_of_a_socket_that_names_no_protocol_send_at_once():
    with socket.socket() as listening:  # as Streamlit makes it
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        if not send_at_once():
            pytest.skip("the system does not tell which sockets a process has")
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_the_app_starts_where_the_system_does_not_tell(monkeypatch):
    def refuse(self, kind):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "net_connections", refuse)
    assert send_at_once() == 0
