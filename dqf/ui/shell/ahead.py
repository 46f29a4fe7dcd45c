"""Code of the frontend that a later page needs, loaded while the first one is looked at.

Streamlit fetches the code of an element when a page shows one for the first time. This adds a script to its page
that asks for the elements our pages use before that, one at a time, whenever the browser is idle. Where Streamlit
names its files otherwise, or serves no page of this form, everything works as without it.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dqf.ui.shell.downloads import base_path

ELEMENTS = (
    "DataFrame",
    "PlotlyChart",
    "ButtonGroup",
    "Selectbox",
    "Multiselect",
    "Slider",
    "NumberInput",
    "TextInput",
    "TextArea",
    "Checkbox",
    "FileUploader",
    "Progress",
    "StreamlitSyntaxHighlighter",
)
"""Elements of our pages, the first needed ones first."""
SCRIPT = Path(__file__).with_name("ahead.js")
STATIC = Path(st.__file__).parent / "static" / "static" / "js"
END_OF_HEAD = b"</head>"


def routes() -> list[Route]:
    """Return the address of the script."""
    return [Route(_address(), _script, methods=["GET"])]


def chunks() -> list[str]:
    """Return the files that hold the elements' code, as this Streamlit names them."""
    found = (sorted(STATIC.glob(f"{element}.*.js")) for element in ELEMENTS)
    return [files[0].name for files in found if len(files) == 1]


class Ahead:
    """Middleware that adds the script to the page Streamlit serves at every address."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        addresses = " ".join(f"{base_path()}/static/js/{name}" for name in chunks())
        self._tag = f'<script defer src="{_address()}" data-chunks="{escape(addresses)}"></script>'.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        if "text/html" in Headers(scope=scope).get("accept", ""):  # a page: one that is compressed cannot be added to
            plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
            scope = {**scope, "headers": plain}
        held: Message | None = None
        body = b""

        async def with_script(message: Message) -> None:
            nonlocal held, body
            if message["type"] == "http.response.start" and _is_page(message):
                held = message
                return
            if held is None:
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = body.replace(END_OF_HEAD, self._tag + END_OF_HEAD, 1)
            headers = MutableHeaders(scope=held)
            headers["content-length"] = str(len(body))
            for name in ("etag", "last-modified"):  # of the file, not of what is sent
                del headers[name]
            await send(held)
            await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, with_script)


def _is_page(message: Message) -> bool:
    headers = Headers(raw=message["headers"])
    plain = "content-encoding" not in headers
    return message["status"] == 200 and plain and headers.get("content-type", "").startswith("text/html")


def _address() -> str:
    return f"{base_path()}/ahead.js"


def _script(_request: object) -> FileResponse:
    return FileResponse(SCRIPT, media_type="text/javascript", headers={"Cache-Control": "no-cache"})
