"""No secret in what is written down or shown: tokens, keys and passwords are replaced before."""

from __future__ import annotations

import os
import re
from typing import Any

HIDDEN = "[hidden]"
SHORTEST = 8
_NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL)", re.IGNORECASE)
_SHAPES = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[A-Z0-9]{16}\b"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)|(?<=Bearer )[A-Za-z0-9._~+/-]{12,}=*"
)


def redact(text: str) -> str:
    """Return a text without what looks like a secret, and without the values of variables that are named like one."""
    return _redact(text, _secrets())


def redact_data(data: Any) -> Any:
    """Return plain data with every text in it redacted; numbers stay, though a secret may consist of digits."""
    return _redact_data(data, _secrets())


def _secrets() -> list[str]:
    return [value for name, value in os.environ.items() if len(value) >= SHORTEST and _NAMES.search(name)]


def _redact(text: str, secrets: list[str]) -> str:
    for value in secrets:
        text = text.replace(value, HIDDEN)
    return _SHAPES.sub(HIDDEN, text)


def _redact_data(data: Any, secrets: list[str]) -> Any:
    if isinstance(data, str):
        return _redact(data, secrets)
    if isinstance(data, dict):
        return {_redact_data(name, secrets): _redact_data(value, secrets) for name, value in data.items()}
    return [_redact_data(one, secrets) for one in data] if isinstance(data, list | tuple) else data
