"""Which commit of a hub model would be loaded now."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

from dqf.environment import hub_is_offline

TIMEOUT_S = 10.0


@functools.lru_cache
def hub_revision(source: str) -> str:
    """Return the commit of a hub id's main branch: the hub's, or that of the local copy if it cannot be asked.

    Returns:
        40 hex digits; empty if neither knows.
    """
    from huggingface_hub import HfApi, constants

    if not hub_is_offline():
        with contextlib.suppress(Exception):  # no network, no such model: what loads it will say so
            return str(HfApi().model_info(source, timeout=TIMEOUT_S).sha or "")
    main = Path(constants.HF_HUB_CACHE) / f"models--{source.replace('/', '--')}" / "refs" / "main"
    try:
        return main.read_text(encoding="ascii").strip()
    except OSError:
        return ""
