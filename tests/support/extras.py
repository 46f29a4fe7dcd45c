"""Packages that most tests do without: `make test-extras` has them, and there no test may skip for want of one."""

import os

import pytest


def lacking(reason: str) -> None:
    """Skip the test, or fail it where everything is meant to be installed (`DQF_TEST_EXTRAS` is set)."""
    if os.environ.get("DQF_TEST_EXTRAS"):
        pytest.fail(reason)
    pytest.skip(reason)
