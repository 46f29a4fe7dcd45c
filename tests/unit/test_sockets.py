"""The app's sockets send at once."""

from __future__ import annotations

import socket

from dqf.ui.shell.sockets import send_at_once


def test_connections_of_a_socket_that_names_no_protocol_send_at_once():
    with socket.socket() as listening:  # as Streamlit makes it
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        assert send_at_once() >= 1
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
