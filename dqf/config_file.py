"""Configs in files: JSON or TOML."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from dqf.errors import UserError


def read_config_file(path: Path) -> dict[str, Any]:
    """Return the content of a JSON or TOML file.

    Raises:
        UserError: it is not readable, or not an object.
    """
    kind = "TOML" if path.suffix == ".toml" else "JSON"
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text) if kind == "TOML" else json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"a config file must be readable: {path} is not ({error}).") from None
    except ValueError as error:
        raise UserError(f"a config file must be {kind}: {path} is not ({error}).") from None
    if not isinstance(data, dict):
        raise UserError(f"a config file must hold one {kind} object: {path} holds a {type(data).__name__}.")
    return data
