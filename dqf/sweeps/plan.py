"""A sweep as data: a base config, axes that are multiplied out, and overrides for some of the runs."""

from __future__ import annotations

import itertools
import math
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dqf import flags
from dqf.config import RunConfig, digest_of, merge
from dqf.errors import ConfigError, FieldError, UserError, did_you_mean
from dqf.presets import preset_config, preset_names

PRESET = "preset"
MOST_RUNS = 1000


@dataclass(frozen=True)
class Override:
    """Settings for the runs whose own settings match.

    Attributes:
        when: dotted path -> the values that match.
        settings: a partial config.
    """

    when: Mapping[str, tuple[Any, ...]]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a sweep runs.

    Attributes:
        base: partial config below everything; a preset in it is filled in.
        axes: dotted path -> values; the first one varies slowest.
        overrides: laid over the base where they match.
        fixed: partial config laid over base and overrides, as the axes are.
    """

    base: Mapping[str, Any]
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "base": dict(self.base),
            "axes": {path: list(values) for path, values in self.axes.items()},
            "overrides": [
                {"when": {path: list(values) for path, values in one.when.items()}, "set": dict(one.settings)}
                for one in self.overrides
            ],
            "fixed": dict(self.fixed),
        }


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        settings: its value on each axis, by dotted path.
        config: all of it.
    """

    settings: Mapping[str, Any]
    config: RunConfig

    @property
    def label(self) -> str:
        """Its place on the axes: `seed=1 task=glue:rte`."""
        return label_of(self.settings)


def label_of(settings: Mapping[str, Any]) -> str:
    """Return values on axes as people read them: `seed=1 source=glue:rte`; with the section where names repeat."""
    last = [path.rpartition(".")[2] for path in settings]
    names = [
        ".".join(path.split(".")[-2:]) if last.count(name) > 1 else name
        for path, name in zip(settings, last, strict=True)
    ]
    return " ".join(f"{name}={_shown(value)}" for name, value in zip(names, settings.values(), strict=True))


def split_lists(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
    """Return a config with lists as one without them, and the lists as axes.

    For a setting that is a list itself (`quantization.bits`), a list of lists is an axis.
    """
    listed = {".".join(flag.path) for flag in flags.all_flags() if typing.get_origin(flag.annotation) is tuple}
    axes: dict[str, tuple[Any, ...]] = {}

    def walk(part: Mapping[str, Any], path: str) -> dict[str, Any]:
        rest = {}
        for name, value in part.items():
            where = f"{path}.{name}" if path else str(name)
            if isinstance(value, Mapping):
                rest[name] = walk(value, where)
            elif isinstance(value, list) and (where not in listed or any(isinstance(one, list) for one in value)):
                axes[where] = tuple(value)
            else:
                rest[name] = value
        return rest

    base = walk(config, "")
    return base, axes


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return a partial config with one setting."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return typing.cast(dict[str, Any], value)


def value_at(config: Mapping[str, Any], path: str) -> Any:
    """Return a setting by its dotted path, None where there is none."""
    value: Any = config
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


@dataclass
class Expansion:
    """All runs of a plan, and what is wrong with those that cannot be.

    Attributes:
        runs: the valid ones, none twice.
        errors: labels of the runs by (path, message).
        count: of all combinations.
        idle: overrides that no run matches.
    """

    runs: list[PlannedRun]
    errors: dict[tuple[str, str], list[str]]
    count: int
    idle: list[Override]

    def add(self, label: str, errors: Iterable[FieldError]) -> None:
        """Note errors of a run."""
        for one in errors:
            self.errors.setdefault((one.path, one.message), []).append(label)

    def raise_errors(self) -> None:
        """Raise all errors of all runs at once, each once, saying which runs it is about.

        Raises:
            ConfigError: there are errors.
        """
        errors = []
        for (path, message), labels in self.errors.items():
            where = f" (in {len(labels)} of {self.count} runs: {labels[0]}{', ...' * (len(labels) > 1)})."
            errors.append(FieldError(path, message.rstrip(".") + where if len(labels) < self.count else message))
        if errors:
            raise ConfigError(errors)


def expand(plan: Plan) -> Expansion:
    """Multiply a plan out.

    Raises:
        UserError: an axis without values, too many runs, an unknown preset, or an override for an unknown setting.
    """
    if plan.overrides:
        _check_places(plan.overrides)
    for path, values in plan.axes.items():
        if not values:
            raise UserError(f"a sweep's list needs at least one value: `{path}` has none.")
    count = math.prod(len(values) for values in plan.axes.values())
    if count > MOST_RUNS:
        raise UserError(f"a sweep can have at most {MOST_RUNS} runs: these lists make {count}; shorten some.")
    expansion = Expansion([], {}, count, list(plan.overrides))
    seen: set[str] = set()
    for settings in _combinations(plan.axes):
        given, errors, matched = _config_of(plan, settings)
        expansion.idle = [one for one in expansion.idle if one not in matched]
        try:
            config = RunConfig.from_dict(given)
        except ConfigError as error:
            known = {one.path for one in errors}
            errors += [one for one in error.errors if one.path not in known]
        if errors:
            expansion.add(label_of(settings), errors)
        elif config.digest() not in seen:
            seen.add(config.digest())
            whole = config.to_dict()
            expansion.runs.append(PlannedRun({path: value_at(whole, path) for path in settings}, config))
    return expansion


def _check_places(overrides: Iterable[Override]) -> None:
    """Refuse overrides for settings that do not exist.

    Raises:
        UserError: there is one.
    """
    known = sorted({PRESET, *(".".join(flag.path) for flag in flags.all_flags())})
    for path in (path for override in overrides for path in override.when):
        if path not in known:
            raise UserError(f"`when` of an override must name settings: got `{path}`{did_you_mean(path, known)}")


def shared_work(runs: Sequence[PlannedRun]) -> dict[str, int]:
    """Return how many teachers and students the runs need in all; what runs share counts once."""
    keys: dict[str, set[str]] = {"teachers": set(), "Student-FT": set(), "Student-KD": set()}
    for run in runs:
        data = run.config.to_dict()
        teacher = [data["task"], data["teacher"]]
        plain = [
            teacher if data["student"]["model"] == "teacher-layers" else data["task"],
            data["student"],
            data["seed"],
        ]
        for further in range(data["distillation"]["teachers"]):
            seed = data["teacher"]["seed"] + further
            keys["teachers"].add(digest_of([data["task"], data["teacher"] | {"seed": seed}]))
        keys["Student-FT"].add(digest_of(plain))
        keys["Student-KD"].add(digest_of([plain, teacher, data["distillation"]]))
    return {name: len(found) for name, found in keys.items()}


def _combinations(axes: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _config_of(plan: Plan, settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[FieldError], list[Override]]:
    """Return one run's config, misplaced settings in it, and the overrides that it matches.

    The config is the preset, with base, overrides, fixed settings and the place on the axes laid over it in this order.

    Raises:
        UserError: unknown preset.
    """
    chosen = settings.get(PRESET, plan.base.get(PRESET))
    # A file may call itself what it likes; a name that is swept over must be one that says something.
    known = chosen in preset_names() or PRESET in settings
    config = preset_config(str(chosen)).to_dict() if known else RunConfig().to_dict()
    config = flags.apply(config, plan.base)
    own: dict[str, Any] = dict(plan.fixed)
    for path, value in settings.items():
        own = merge(own, nested(path, value))
    tried = flags.apply(config, own)
    matched = [
        override
        for override in plan.overrides
        if all(_matches(value_at(tried, path), values) for path, values in override.when.items())
    ]
    for override in matched:
        config = flags.apply(config, override.settings)
    return flags.apply(config, own), flags.misplaced(_paths(own), config, own), matched


def _matches(value: Any, values: Sequence[Any]) -> bool:
    """Tell whether a value is among others; what came as text from the command line matches a number too."""
    return value in values or str(value) in map(str, values)


def _paths(config: Mapping[str, Any], path: str = "") -> set[str]:
    """Return the dotted paths of all settings in a partial config."""
    found: set[str] = set()
    for name, value in config.items():
        where = f"{path}.{name}" if path else name
        found |= _paths(value, where) if isinstance(value, Mapping) else {where}
    return found


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
