"""Which runtimes can load an artifact on a device."""

from __future__ import annotations

import importlib.util

from dqf import registry
from dqf.artifacts import Artifact
from dqf.errors import UserError


def installed_runtimes() -> list[str]:
    """Return the names of the runtimes whose packages are installed."""
    return [entry.name for entry in registry.entries("runtime") if _installed(entry)]


def _installed(entry: registry.Entry) -> bool:
    return all(importlib.util.find_spec(module) for module in entry.facts.get("needs", ()))


def candidates(artifact: Artifact, device: str, wanted: str) -> list[registry.Entry]:
    """Return the registered runtimes that can load this artifact on this device.

    Args:
        artifact: what to load.
        device: `cpu` or `cuda`.
        wanted: `auto` for all, or the name of one.

    Raises:
        UserError: none can.
    """
    form = "packed" if artifact.is_packed else "fp16"
    found = [
        entry
        for entry in registry.entries("runtime")
        if form in entry.facts["loads"]
        and device in entry.facts["devices"]
        and (not entry.facts.get("graph") or artifact.has_graph)
        and (not entry.facts.get("int8_scales") or artifact.has_int8_scales)
        and _installed(entry)
    ]
    chosen = found if wanted == "auto" else [entry for entry in found if entry.name == wanted]
    if not chosen and wanted != "auto":
        # A runtime for packed weights cannot load FP16 files and the other way round: take its nearest relative.
        family, precision = wanted.split("-")[0], registry.get("runtime", wanted).facts["precision"]
        relatives = [entry for entry in found if entry.name.split("-")[0] == family]
        chosen = [entry for entry in relatives if entry.facts["precision"] == precision] or relatives or found
    if not chosen:
        raise UserError(f"some runtime must be able to load the artifact: none can load {form} weights on {device}.")
    return chosen
