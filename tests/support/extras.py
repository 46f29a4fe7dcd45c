"""Packages that most tests do without: `make test-extras` has them, and runs what is marked as needing one."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

PACKAGES = frozenset(
    re.findall(r"^[\w-]+", (Path(__file__).parents[2] / "requirements-export.txt").read_text(), flags=re.MULTILINE)
)


def marks(needs: Iterable[str]) -> list[pytest.MarkDecorator]:
    """Return the marks of a test case that needs these packages."""
    return [pytest.mark.extras] if PACKAGES & set(needs) else []


def lacking(reason: str) -> None:
    """Skip the test, or fail it where everything is meant to be installed (`DQF_TEST_EXTRAS` is set)."""
    if os.environ.get("DQF_TEST_EXTRAS"):
        pytest.fail(reason)
    pytest.skip(reason)
