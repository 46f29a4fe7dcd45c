"""Studies on disk, checked once so that the page can rely on their figures (docs/result-schema.md)."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from dqf.config import RunConfig
from dqf.errors import ConfigError, UserError
from dqf.jobs import protocol
from dqf.settings import Settings
from dqf.study.analyse import SCHEMA_VERSION
from dqf.study.files import STUDY, SUMMARY, read_summary

_PART = {
    "condition": str,
    "tasks": list,
    "seeds": list,
    "n": int,
    "baseline": dict,
    "bits": dict,
    "variants": list,
    "verdicts": dict,
    "sanity": list,
    "notes": list,
}
_FIGURES = ("system", "variant", "bits", "score", "teacher_score", "retention", "compression_ratio", "tasks")
_BITS = re.compile(r"(mixed)?\d+(\.\d+)?")
_VERDICT = ("hypothesis", "bits", "verdict", "effect", "low", "high", "p_value", "p_holm", "unit", "sentence")


@dataclass(frozen=True)
class Study:
    """One study with its figures.

    Attributes:
        folder: where it lies.
        reference: whether it is committed with the project.
        summary: content of `summary.json`, checked.
        facts: content of `study.json`, empty if it cannot be read.
    """

    folder: Path
    reference: bool
    summary: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the study."""
        return str(self.summary["study"].get("name") or self.folder.name)

    @property
    def title(self) -> str:
        """Title for people."""
        return str(self.summary["study"].get("title") or self.name)

    @property
    def conditions(self) -> tuple[Mapping[str, Any], ...]:
        """The parts of the summary, one per condition; the summary itself where nothing was varied."""
        return tuple(self.summary.get("conditions") or (self.summary,))

    @property
    def usual(self) -> Mapping[str, Any]:
        """The condition a run takes unless told otherwise, so the one to show first; the first where none is it."""
        try:
            config = RunConfig.from_dict(self.facts["plan"]["base"]).to_dict()
            agree = [_agrees(config, part["settings"]) for part in self.conditions]
        except (ConfigError, LookupError, TypeError, AttributeError):
            agree = []
        return self.conditions[agree.index(True) if True in agree else 0]


def load(folder: Path, settings: Settings) -> Study:
    """Return a study, read again only when its files change.

    Raises:
        UserError: its summary is not readable or not of this form.
    """
    stamps = []
    for name in (SUMMARY, STUDY):
        try:
            state = (folder / name).stat()
            stamps.append((state.st_mtime_ns, state.st_size))
        except OSError:
            stamps.append((0, 0))
    own = settings.results_dir / "studies"
    return _load(str(folder), tuple(stamps), own not in folder.parents)


@st.cache_data(max_entries=32, show_spinner=False)
def _load(folder: str, stamps: tuple[tuple[int, int], ...], reference: bool) -> Study:
    path = Path(folder)
    summary, facts = read_summary(path), protocol.read_json(path / STUDY)
    return Study(path, reference, checked(summary, path.name), facts if isinstance(facts, Mapping) else {})


def checked(summary: Any, name: str) -> Mapping[str, Any]:
    """Return a summary that holds what the page shows.

    Raises:
        UserError: what is wrong with it.
    """
    if not isinstance(summary, Mapping):
        raise UserError(f"a study needs a readable {SUMMARY}: that of {name} is not; analyse the study again.")
    if summary.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{SUMMARY} must be of schema version {SCHEMA_VERSION}: that of {name} is of "
            f"{summary.get('schema_version')!r}; analyse the study again."
        )
    if not isinstance(summary.get("study"), Mapping):
        raise UserError(_lacks(name, "study"))
    for part in (summary, *(summary.get("conditions") or ())):
        for key, kind in _PART.items():
            if not isinstance(part.get(key), kind):
                raise UserError(_lacks(name, key))
        for row in (*part["variants"], *part["bits"].values()):
            for key in _FIGURES:
                if key not in row:
                    raise UserError(_lacks(name, f"variants.{key}"))
        for name_of_bits in (*part["bits"], *(row["bits"] for row in part["variants"])):
            if not _BITS.fullmatch(str(name_of_bits)):
                raise UserError(f"a bit-width must be a number or mixed3.5: {name} has {str(name_of_bits)[:40]!r}.")
        for row in (one for group in part["verdicts"].values() for one in group):
            for key in _VERDICT:
                if key not in row:
                    raise UserError(_lacks(name, f"verdicts.{key}"))
    return summary


def _lacks(name: str, key: str) -> str:
    return f"{SUMMARY} must hold `{key}` as docs/result-schema.md says: that of {name} does not; analyse it again."


def _agrees(config: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Tell whether a config holds these settings, given by their paths."""
    return all(functools.reduce(operator.getitem, path.split("."), config) == value for path, value in settings.items())
