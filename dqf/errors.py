"""Errors that are meant for people: one sentence with rule, what was given, and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class UserError(Exception):
    """A refusal whose message is one clear sentence; shown without a traceback."""


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one setting.

    Attributes:
        path: dotted name of the setting, for example `quantization.group_size`; empty for the whole.
        message: one sentence: rule, what was given, how to fix it.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(UserError):
    """Every error of a config at once.

    Attributes:
        errors: the errors, in the order of the settings.
    """

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class Cancelled(Exception):
    """Raised inside a worker when its run was asked to stop."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return `; did you mean `x`?` for the nearest known word, or the list of all known words."""
    known = list(known)
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{near[0]}`?"
    return "; known: " + ", ".join(f"`{word}`" for word in known)
