"""Command-line flags out of the settings' dataclasses: a new setting or method gets its flag by itself."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dqf import registry
from dqf.config import RunConfig, merge
from dqf.errors import ConfigError, FieldError, UserError
from dqf.fields import Setting, setting_of, type_hints

METHOD_SECTIONS = (("distiller", "distillation", "method"), ("quantizer", "quantization", "quantizer"))
"""(registry kind, section of the config, setting that chooses the method)."""


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        name: for example `--group-size`.
        path: where its value goes in the config, for example ("quantization", "group_size").
        annotation: the setting's type.
        default: the setting's default.
        facts: label, help, limits and choices.
        kind: `distiller` or `quantizer` when it belongs to methods rather than to every run.
        methods: names of those methods.
    """

    name: str
    path: tuple[str, ...]
    annotation: Any
    default: Any
    facts: Setting
    kind: str = ""
    methods: tuple[str, ...] = ()

    @property
    def destination(self) -> str:
        """Attribute of the parsed arguments."""
        return "set_" + self.name.lstrip("-").replace("-", "_")


def all_flags() -> tuple[Flag, ...]:
    """Return the flags of `RunConfig` and of every registered distiller and quantizer, each once."""
    flags = {flag.name: flag for flag in _flags_of(RunConfig, ())}
    for kind, section, _ in METHOD_SECTIONS:
        for entry in registry.entries(kind):
            for flag in _flags_of(entry.config, (section, "options")):
                known = flags.get(flag.name)
                if known is None:
                    flags[flag.name] = dataclasses.replace(flag, kind=kind, methods=(entry.name,))
                elif known.path == flag.path and known.kind == kind:
                    flags[flag.name] = dataclasses.replace(known, methods=(*known.methods, entry.name))
                else:
                    raise ValueError(
                        f"flag {flag.name} of {kind} {entry.name!r} must be its own: "
                        f"`{'.'.join(known.path)}` has it already"
                    )
    return tuple(flags.values())


def add_flags(parser: argparse.ArgumentParser, many: bool = False) -> None:
    """Add all flags to a parser, one group per section; values are checked later, all at once.

    Args:
        parser: receives them.
        many: for sweeps, where every flag takes several values (`values_of` reads them).
    """
    groups: dict[str, Any] = {}
    for flag in all_flags():
        title = f"settings of {flag.kind} {', '.join(flag.methods)}" if flag.kind else _title(flag)
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add_flag(groups[title], flag, many)


def values_of(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return the given values of each setting by its dotted path, of a parser with `many` flags.

    Commas separate values; semicolons do where a value may hold commas itself (`--bits 8,4;2` gives two
    values, `--keep-layers 0,9;0,3,9` too) or where they are used at all (`--task "file:a,b.csv;"`).
    """
    values = {}
    for flag in all_flags():
        given = getattr(arguments, flag.destination, None)
        if given is not None:
            text = ",".join(given) if isinstance(given, list) else str(given)
            own_commas = flag.facts.commas or typing.get_origin(flag.annotation) is tuple
            parts = text.split(";") if ";" in text or own_commas else text.split(",")
            values[".".join(flag.path)] = [part.strip() for part in parts if part.strip()] or [text]
    return values


def exporter_flags() -> tuple[Flag, ...]:
    """Return the flags of every registered exporter's settings."""
    return tuple(
        dataclasses.replace(flag, kind="exporter", methods=(entry.name,))
        for entry in registry.entries("exporter")
        for flag in _flags_of(entry.config, ())
    )


def add_exporter_flags(parser: argparse.ArgumentParser) -> None:
    """Add the exporters' flags to a parser, one group per exporter."""
    groups: dict[str, Any] = {}
    for flag in exporter_flags():
        name = flag.methods[0]
        if name not in groups:
            groups[name] = parser.add_argument_group(f"settings of {name}")
        _add_flag(groups[name], flag)


def exporter_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the given settings of the exporter that `--format` chooses.

    Raises:
        UserError: a setting of another exporter was given.
    """
    options = {}
    for flag in exporter_flags():
        value = getattr(arguments, flag.destination, None)
        if value is None:
            continue
        if arguments.format not in flag.methods:
            raise UserError(
                f"{flag.name} belongs to --format {flag.methods[0]}: got --format {arguments.format}; "
                "choose that one or leave the flag out."
            )
        options[flag.path[-1]] = value
    return options


def changes_of(arguments: argparse.Namespace, base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a config that the given flags change.

    Args:
        arguments: parsed by a parser with `add_flags`.
        base: the config they are laid over; it tells which methods are chosen where no flag does.

    Raises:
        ConfigError: a method's flag was given for another method.
    """
    given = [(flag, value) for flag in all_flags() if (value := getattr(arguments, flag.destination, None)) is not None]
    changes: dict[str, Any] = {}
    for flag, value in given:
        place = changes
        for part in flag.path[:-1]:
            place = place.setdefault(part, {})
        place[flag.path[-1]] = ",".join(value) if isinstance(value, list) else value
    errors = misplaced({".".join(flag.path) for flag, _ in given}, base, changes)
    if errors:
        raise ConfigError(errors)
    return changes


def misplaced(paths: set[str], *configs: Mapping[str, Any]) -> list[FieldError]:
    """Return an error for each given setting of a method that is not the chosen one.

    Args:
        paths: dotted paths of the settings that were given.
        configs: laid over each other, they tell which methods are chosen.
    """
    chosen = {kind: _chosen(section, setting, *configs) for kind, section, setting in METHOD_SECTIONS}
    every = all_flags()
    # Two methods may each have a setting of one name with a flag of its own.
    known = {".".join(flag.path) for flag in every if flag.kind and chosen[flag.kind] in flag.methods}
    return [
        FieldError(
            ".".join(flag.path),
            f"belongs to {flag.kind} {' and '.join(flag.methods)}: got {flag.kind} {chosen[flag.kind]}; "
            "choose that one or leave the flag out.",
        )
        for flag in every
        if flag.kind
        and ".".join(flag.path) in paths - known
        and chosen[flag.kind] in registry.names(flag.kind)
        and chosen[flag.kind] not in flag.methods
    ]


def apply(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` laid over it; options of a method that is no longer chosen are dropped."""
    base = dict(base)
    for _, section, setting in METHOD_SECTIONS:
        part, new = base.get(section), changes.get(section)
        chosen_anew = isinstance(new, Mapping) and setting in new
        if isinstance(part, Mapping) and isinstance(new, Mapping) and chosen_anew and new[setting] != part.get(setting):
            base[section] = {name: value for name, value in part.items() if name != "options"}
    return merge(base, changes)


def explain(error: ConfigError) -> list[str]:
    """Return the errors one per line, each with the flag that sets it."""
    names = {".".join(flag.path): flag.name for flag in all_flags()}
    lines = []
    for one in error.errors:
        flag = names.get(one.path)
        lines.append(f"{one.path} ({flag}): {one.message}" if flag else str(one))
    return lines


def _flags_of(config_type: type, path: tuple[str, ...]) -> list[Flag]:
    flags = []
    hints = type_hints(config_type)
    for field in dataclasses.fields(config_type):
        facts = setting_of(field)
        annotation = hints[field.name]
        if facts is not None and facts.flag:
            flags.append(Flag(facts.flag, (*path, field.name), annotation, field.default, facts))
        elif dataclasses.is_dataclass(annotation):
            flags += _flags_of(typing.cast(type, annotation), (*path, field.name))
    return flags


def _add_flag(group: Any, flag: Flag, many: bool = False) -> None:
    facts = flag.facts
    text = facts.help.replace("%", "%%")
    limits = []
    if facts.choices and flag.annotation is not bool:
        limits.append("one of " + ", ".join(str(choice) for choice in facts.choices))
    elif facts.minimum is not None and facts.maximum is not None:
        limits.append(f"{_show(facts.minimum)} to {_show(facts.maximum)}")
    elif facts.minimum is not None:
        limits.append(f"at least {_show(facts.minimum)}")
    if flag.path[0] in {section for _, section, _ in METHOD_SECTIONS} and flag.path[-1] in ("method", "quantizer"):
        kind = next(kind for kind, section, _ in METHOD_SECTIONS if section == flag.path[0])
        limits.append("one of " + ", ".join(registry.names(kind)))
    default = flag.default
    if isinstance(default, tuple):
        default = " ".join(str(one) for one in default)
    if default not in ("", None):
        limits.append(f"default {str(default).lower() if isinstance(default, bool) else default}")
    text += f" ({'; '.join(limits)})" if limits else ""
    options: dict[str, Any] = {"dest": flag.destination, "default": None, "help": text}
    if flag.annotation is bool and many:
        group.add_argument(flag.name, nargs="?", const="true", metavar="true,false", **options)
        negative = "--no-" + flag.name.removeprefix("--")
        group.add_argument(negative, action="store_const", const="false", dest=flag.destination, help=argparse.SUPPRESS)
        return
    if flag.annotation is bool:
        group.add_argument(flag.name, action=argparse.BooleanOptionalAction, **options)
        return
    if typing.get_origin(flag.annotation) is tuple:
        options["nargs"] = "+"
    names = {int: "N", float: "X"}
    group.add_argument(flag.name, metavar=names.get(flag.annotation, facts.label.split()[0].upper()), **options)


def _show(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _title(flag: Flag) -> str:
    return flag.path[0] if len(flag.path) > 1 else "run"


def _chosen(section: str, setting: str, *configs: Mapping[str, Any]) -> Any:
    """Return the method that the last config to name one chooses."""
    for config in reversed(configs):
        part = config.get(section)
        if isinstance(part, Mapping) and setting in part:
            return part[setting]
    default = type_hints(RunConfig)[section]()
    return getattr(default, setting)
