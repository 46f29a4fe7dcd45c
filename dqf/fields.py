"""Settings as data: a dataclass field with what command line and form need to know about it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dqf.errors import FieldError, did_you_mean


@dataclass(frozen=True)
class Setting:
    """What is known of one setting besides its default.

    Attributes:
        label: sentence-case name for forms.
        help: one sentence: what it does, with the unit where it has one.
        minimum, maximum: inclusive limits for numbers.
        choices: allowed values; for tuples, allowed members.
        flag: command-line flag; empty means none of its own.
        advanced: shown folded away in forms.
        commas: its own values may hold commas, so a sweep separates several by `;` only.
    """

    label: str
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    flag: str = ""
    advanced: bool = False
    commas: bool = False


def setting(default: Any, label: str, help: str, **facts: Any) -> Any:
    """Declare a dataclass field together with its `Setting`."""
    return dataclasses.field(default=default, metadata={"setting": Setting(label, help, **facts)})


def section(config_type: type) -> Any:
    """Declare a nested section of settings with its defaults."""
    return dataclasses.field(default_factory=config_type)


def setting_of(field: dataclasses.Field[Any]) -> Setting | None:
    """Return the `Setting` of a dataclass field, None for a section."""
    return field.metadata.get("setting")


def type_hints(config_type: type) -> dict[str, Any]:
    """Return the resolved annotations of a dataclass."""
    return typing.get_type_hints(config_type)


def build(config_type: type, given: Any, path: str, errors: list[FieldError]) -> Any:
    """Make a `config_type` from a mapping, adding every error found to `errors`.

    Args:
        config_type: a dataclass whose fields were declared with `setting` or `section`.
        given: the mapping, as it came from JSON, a form or the command line.
        path: dotted name of this section, empty at the top.
        errors: list that receives one `FieldError` per fault.

    Returns:
        An instance; faulty fields hold their defaults.
    """
    if not isinstance(given, Mapping):
        errors.append(FieldError(path, f"must be a group of settings: got {_show(given)}."))
        return config_type()
    fields = {field.name: field for field in dataclasses.fields(config_type)}
    hints = type_hints(config_type)
    for key in given:
        if key not in fields:
            hint = did_you_mean(str(key), fields)
            errors.append(FieldError(_join(path, str(key)), f"is not a known setting{hint}"))
    values = {}
    for name, field in fields.items():
        if name not in given:
            continue
        where = _join(path, name)
        if dataclasses.is_dataclass(hints[name]):
            values[name] = build(typing.cast(type, hints[name]), given[name], where, errors)
            continue
        found = check_value(given[name], hints[name], setting_of(field))
        if isinstance(found, FieldError):
            errors.append(FieldError(where, found.message))
        else:
            values[name] = found
    return config_type(**values)


def check_value(value: Any, annotation: Any, facts: Setting | None) -> Any:
    """Return the value in its declared type, or a `FieldError` (without path) that says what is wrong."""
    if typing.get_origin(annotation) is tuple:
        return _check_tuple(value, typing.get_args(annotation)[0], facts)
    if annotation is Any or typing.get_origin(annotation) in (dict, Mapping):
        if not isinstance(value, Mapping):
            return FieldError("", f"must be a group of settings: got {_show(value)}.")
        return dict(value)
    if isinstance(annotation, types.UnionType):
        raise TypeError(f"settings have one plain type each: got {annotation}")
    typed = _convert(value, annotation)
    if typed is None:
        kind = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[annotation]
        return FieldError("", f"must be {kind}: got {_show(value)}.")
    return _check_limits(typed, facts)


def _check_tuple(value: Any, member: Any, facts: Setting | None) -> Any:
    if isinstance(value, str):
        value = [part for part in value.replace(",", " ").split() if part]
    elif not isinstance(value, list | tuple):
        value = [value]
    members = []
    for one in value:
        found = check_value(one, member, facts)
        if isinstance(found, FieldError):
            return found
        if found not in members:
            members.append(found)
    if not members:
        return FieldError("", "needs at least one value: got none.")
    return tuple(members)


def _convert(value: Any, annotation: Any) -> Any:
    if annotation is bool:
        if isinstance(value, str):
            return {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}.get(value.lower())
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if annotation is str:
        return value if isinstance(value, str) else None
    try:
        number = float(value)
        if annotation is int:
            return int(number) if number == int(number) else None
        return number if number == number and abs(number) != float("inf") else None
    except (TypeError, ValueError, OverflowError):
        return None


def _check_limits(value: Any, facts: Setting | None) -> Any:
    if facts is None:
        return value
    if facts.choices and value not in facts.choices:
        if isinstance(value, str):
            return FieldError("", f"must be a known value: got {value!r}{did_you_mean(value, facts.choices)}")
        allowed = ", ".join(str(choice) for choice in facts.choices)
        return FieldError("", f"must be one of {allowed}: got {value}.")
    low, high = facts.minimum, facts.maximum
    if isinstance(value, int | float) and not isinstance(value, bool):
        if low is not None and value < low:
            return FieldError("", f"must be at least {low:g}: got {value:g}.")
        if high is not None and value > high:
            return FieldError("", f"must be at most {high:g}: got {value:g}.")
    return value


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
