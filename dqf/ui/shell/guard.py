"""What stands between the network and the app: known hosts, same origins, headers that forbid third parties."""

from __future__ import annotations

import base64
import hashlib
import re
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Middleware before everything that the app serves.

    A host that is not in `server.allowedHosts` gets nothing, so that a foreign page cannot point a name of its own
    at this machine; a page of another origin can open no socket and send nothing. Answers carry a content security
    policy under which the browser itself refuses third parties, foreign frames and scripts that are not ours.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = security_headers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        problem = refusal(scope)
        if problem and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403, "reason": problem})
            return
        if problem:
            await PlainTextResponse(problem, 403)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, with_headers)


def refusal(scope: Scope) -> str:
    """Return why a request is not served, empty if it is."""
    headers = Headers(scope=scope)
    host, origin = headers.get("host", ""), headers.get("origin", "")
    if not known_host(urlsplit(f"//{host}").hostname or ""):
        return "this host is not one of `server.allowedHosts`."
    reading = scope["type"] == "http" and scope["method"] in _READING
    if origin and not reading and urlsplit(origin).netloc != host and not _trusted(origin):
        return "a page of another origin may not send anything here."
    return ""


def known_host(host: str) -> bool:
    """Tell whether a host is in `server.allowedHosts`."""
    allowed = st.get_option("server.allowedHosts") or ["*"]
    return any(fnmatch(host.lower(), str(one).strip().lower()) for one in allowed)


def _trusted(origin: str) -> bool:
    return origin in (st.get_option("server.corsAllowedOrigins") or ())


def security_headers() -> dict[str, str]:
    """Return the headers of every answer."""
    scripts = " ".join(f"'sha256-{digest}'" for digest in _inline_scripts())
    policy = {
        "default-src": "'self'",
        # Streamlit's own start script by its hash; WebAssembly reads parquet tables.
        "script-src": f"'self' {scripts} 'wasm-unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self' data: blob:",
        "worker-src": "'self' blob:",
        "frame-src": "'none'",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {' '.join(value.split())}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def _inline_scripts() -> list[str]:
    """Return the hashes of the scripts inside Streamlit's page."""
    page = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    inside = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", page, flags=re.DOTALL)
    return [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inside]
