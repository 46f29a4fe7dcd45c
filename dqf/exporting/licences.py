"""Licences of what ships with the starter project; of anything else this program knows none."""

from __future__ import annotations

from dqf.data.catalog import BBC
from dqf.models.catalog import STARTERS

DATA = {BBC: "packaging MIT; the texts are the BBC's, for research"}
GLUE = "each task of GLUE has a licence of its own: see https://gluebenchmark.com/tasks"


def model_licence(source: str) -> str:
    """Return the SPDX name of a model's licence, empty where unknown."""
    return next((one.licence for one in STARTERS if _whole(source) == f"starter:{one.name}"), "")


def data_licence(source: str) -> str:
    """Return the licence of a task's data, empty where unknown."""
    return GLUE if source.startswith("glue:") else DATA.get(source, "")


def hub_id(source: str) -> str:
    """Return the hub id of a model or of what its layers were cut from, empty for starters and folders."""
    source = _whole(source)
    owner, slash, name = source.partition("/")
    plain = slash and ":" not in source and not owner.startswith(".") and "/" not in name
    return source if plain else ""


def hub_page(source: str) -> str:
    """Return the address of a hub model's page, empty for what is no hub id."""
    return f"https://huggingface.co/{hub_id(source)}" if hub_id(source) else ""


def _whole(source: str) -> str:
    """Return a model's source without the number of layers that were kept of it."""
    return source.partition(" layers ")[0]
