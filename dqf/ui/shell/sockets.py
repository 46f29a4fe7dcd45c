"""The sockets that the app listens on: what is written to a browser leaves at once.

Streamlit 1.67 binds its socket itself, without naming the protocol, and asyncio turns off Nagle's
algorithm only for sockets that name it. So each answer's body, and each message of a page after the
first, waited for the browser's delayed acknowledgement: 44 ms a request
(https://github.com/Kludex/uvicorn/issues/3149 is the same in uvicorn).
"""

from __future__ import annotations

import os
import socket

import psutil


def send_at_once() -> int:
    """Set TCP_NODELAY on every socket this process listens on; connections inherit it.

    Returns:
        How many sockets there are; 0 where the system does not tell, and all stays as it is.
    """
    try:
        known = psutil.Process().net_connections(kind="tcp")
    except (psutil.Error, OSError, RuntimeError):
        return 0
    listening = [one.fd for one in known if one.status == psutil.CONN_LISTEN and one.fd >= 0]
    for number in listening:
        with socket.socket(fileno=os.dup(number)) as same:
            same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return len(listening)
