"""The settings that a study's runs were made with, as the runs recorded them: defaults may change later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SECTIONS = ("teacher", "student", "distillation", "quantization", "measurement")

Settings = dict[str, list[Any]]
"""Dotted path -> the distinct values, in the order of the runs."""


def used_settings(configs: Iterable[Mapping[str, Any]]) -> Settings:
    """Return the values that each setting had over runs.

    Args:
        configs: `config` of each run's `result.json`; what a version did not have yet is missing in it.
    """
    found: Settings = {}
    for config in configs:
        for section in SECTIONS:
            for path, value in _leaves(config.get(section, {}), section):
                _add(found, path, value)
    return found


def joined(first: Mapping[str, list[Any]], second: Mapping[str, list[Any]]) -> Settings:
    """Return the values of both."""
    found: Settings = {}
    for one in (first, second):
        for path, values in one.items():
            for value in values:
                _add(found, path, value)
    return found


def _add(found: Settings, path: str, value: Any) -> None:
    values = found.setdefault(path, [])
    if value not in values:
        values.append(value)


def _leaves(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield path, list(value) if isinstance(value, tuple) else value
        return
    for name, one in value.items():
        yield from _leaves(one, f"{path}.{name}")
