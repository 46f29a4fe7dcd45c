"""The one registry: every method is one file, found by its folder, chosen by its name.

A file in one of the folders of `KINDS` registers itself when it is imported::

    @register("quantizer", "rtn", title="Round to nearest", summary="...", config=RtnConfig)
    def quantize_weight(weight, bits, ..., options): ...

Method files import torch and other heavy libraries inside their functions, so that command line
and web process can list methods and read their settings without loading them.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dqf.errors import FieldError, UserError, did_you_mean
from dqf.fields import build

KINDS: dict[str, str] = {
    "distiller": "dqf.methods.distillers",
    "exporter": "dqf.methods.exporters",
    "quantizer": "dqf.methods.quantizers",
    "runtime": "dqf.runtimes",
}

Target = TypeVar("Target", bound=Callable[..., Any])


@dataclass(frozen=True)
class NoOptions:
    """A method without settings of its own."""


@dataclass(frozen=True)
class Entry:
    """One registered method.

    Attributes:
        kind: one of `KINDS`.
        name: what configs and results call it.
        title: what people read.
        summary: one sentence on what it does.
        config: dataclass of its own settings (`dqf.fields.setting`).
        target: the function or class that does it.
        facts: what callers need to know beforehand, for example `needs_calibration`.
    """

    kind: str
    name: str
    title: str
    summary: str
    config: type
    target: Callable[..., Any]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def options(self, given: Mapping[str, Any], path: str, errors: list[FieldError]) -> Any:
        """Make this method's config from `given`, adding what is wrong to `errors`."""
        return build(self.config, given, path, errors)


_entries: dict[tuple[str, str], Entry] = {}


def register(
    kind: str, name: str, *, title: str, summary: str, config: type = NoOptions, **facts: Any
) -> Callable[[Target], Target]:
    """Register the decorated function or class under `kind` and `name`.

    Raises:
        ValueError: unknown kind, name taken by another file, or `config` is not a dataclass.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {sorted(KINDS)}: got {kind!r}")
    if not dataclasses.is_dataclass(config):
        raise ValueError(f"`config` of {kind} {name!r} must be a dataclass: got {config!r}")

    def add(target: Target) -> Target:
        known = _entries.get((kind, name))
        if known is not None and known.target.__module__ != target.__module__:
            raise ValueError(f"{kind} {name!r} is registered twice: {known.target.__module__}, {target.__module__}")
        _entries[kind, name] = Entry(kind, name, title, summary, config, target, facts)
        return target

    return add


@functools.cache
def _load(kind: str) -> None:
    package = importlib.import_module(KINDS[kind])
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package.__name__}.{module.name}")


def reload() -> None:
    """Look for method files again; needed only when one was added while the program runs."""
    _load.cache_clear()


def entries(kind: str) -> tuple[Entry, ...]:
    """Return the entries of a kind, sorted by name."""
    _load(kind)
    return tuple(entry for (its_kind, _), entry in sorted(_entries.items()) if its_kind == kind)


def names(kind: str) -> tuple[str, ...]:
    """Return the names registered for a kind, sorted."""
    return tuple(entry.name for entry in entries(kind))


def get(kind: str, name: str) -> Entry:
    """Return one entry.

    Raises:
        UserError: nothing is registered under that name.
    """
    _load(kind)
    entry = _entries.get((kind, name))
    if entry is None:
        raise UserError(f"{kind} must be a registered one: got {name!r}{did_you_mean(name, names(kind))}")
    return entry
