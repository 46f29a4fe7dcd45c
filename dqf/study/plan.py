"""A study's plan: a sweep with a title, from a file or one of those that ship (`dqf/study/plans/`)."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dqf.config_file import read_config_file
from dqf.errors import UserError, did_you_mean
from dqf.settings import Settings
from dqf.sweeps.command import add_working_arguments, read_overrides
from dqf.sweeps.plan import Plan, split_lists

PLANS = Path(__file__).parent / "plans"
REFERENCE = "reference"
SUFFIXES = (".toml", ".json")
_KEYS = ("title", "description", "config", "overrides")


@dataclass(frozen=True)
class StudyPlan:
    """What a study runs and what it is called.

    Attributes:
        name: of its folder.
        shipped: whether it comes with DQF Studio.
        title, description: for people.
        plan: of its sweep.
    """

    name: str
    shipped: bool
    title: str
    description: str
    plan: Plan

    def folder(self, settings: Settings) -> Path:
        """Return where its results go unless told otherwise."""
        if not self.shipped:
            return settings.results_dir / "studies" / self.name
        return settings.reference_dir if self.name == REFERENCE else settings.reference_dir / self.name


def shipped_names() -> list[str]:
    """Return the names of the studies that ship."""
    return sorted(path.stem for path in PLANS.iterdir() if path.suffix in SUFFIXES)


def load_plan(name_or_file: str) -> StudyPlan:
    """Return a study's plan.

    Raises:
        UserError: no such study, or its file is not one.
    """
    path = Path(name_or_file)
    shipped = path.suffix not in SUFFIXES
    if shipped:
        if name_or_file not in shipped_names():
            hint = did_you_mean(name_or_file, shipped_names())
            raise UserError(f"a study must be a known name or a .toml or .json file: got {name_or_file!r}{hint}")
        path = next(
            PLANS / f"{name_or_file}{suffix}" for suffix in SUFFIXES if (PLANS / f"{name_or_file}{suffix}").is_file()
        )
    planned = plan_of(read_config_file(path), path.stem, shipped)
    if not shipped and planned.name in shipped_names():
        raise UserError(
            f"an own study must have a name of its own: {path.name} is called like the {planned.name!r} that ships; "
            "rename the file."
        )
    return planned


def plan_of(data: dict[str, Any], stem: str, shipped: bool) -> StudyPlan:
    """Return the plan that a file's content describes.

    Raises:
        UserError: unknown keys, or a config that is no object.
    """
    for key in data:
        if key not in _KEYS:
            raise UserError(f"a study file has the keys {', '.join(_KEYS)}: got {key!r}{did_you_mean(key, _KEYS)}")
    config = data.get("config", {})
    if not isinstance(config, dict):
        raise UserError(f"a study's `config` must be a group of settings: got {str(config)[:60]!r}.")
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:40] or "study"
    base, axes = split_lists(config)
    plan = Plan(base, axes, read_overrides(data.get("overrides", ())))
    return StudyPlan(name, shipped, str(data.get("title", name)), str(data.get("description", "")).strip(), plan)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command `study` is told; here rather than beside it, which loads pandas and scipy."""
    parser.add_argument(
        "study",
        metavar="NAME_OR_FILE",
        help=f"{' or '.join(shipped_names())}, a .toml or .json file, or with --check a folder",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for tables and summary (default in the results)"
    )
    add_working_arguments(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--analyse", action="store_true", help="run nothing, analyse the runs that are done")
    what.add_argument("--check", action="store_true", help="compute the summary again from the tables and compare")
