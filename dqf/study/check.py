"""Computing a summary again from the tables beside it, and naming every value that differs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from dqf.errors import UserError
from dqf.study.analyse import analyse
from dqf.study.files import SUMMARY, read_summary, read_tables, round_trip

TOLERANCE = 1e-9
"""Relative; other processors and library versions sum in another order."""


def check(folder: Path) -> list[str]:
    """Return a sentence for each value of `summary.json` that its tables do not give.

    Raises:
        UserError: summary or tables are missing.
    """
    written = read_summary(folder)
    if written is None:
        raise UserError(
            f"a study's folder must hold a readable {SUMMARY}: {folder} does not; name another folder, or "
            "analyse the study with `python -m dqf study NAME --analyse`."
        )
    resamples = written.get("n_resamples")
    if not isinstance(resamples, int) or resamples < 1:
        raise UserError(
            f"`n_resamples` of {SUMMARY} must be a positive whole number: got {resamples!r}; analyse the study again."
        )
    return differences(written, round_trip(analyse(read_tables(folder), resamples)))


def count_values(data: Any) -> int:
    """Return how many values JSON data hold."""
    if isinstance(data, dict):
        return sum(count_values(one) for one in data.values())
    if isinstance(data, list):
        return sum(count_values(one) for one in data)
    return 1


def differences(written: Any, computed: Any, path: str = "") -> list[str]:
    """Return where two JSON values differ, numbers by more than `TOLERANCE`."""
    if isinstance(written, dict) and isinstance(computed, dict):
        found = [f"{path}.{name}: only in the file" for name in written.keys() - computed.keys()]
        found += [f"{path}.{name}: missing in the file" for name in computed.keys() - written.keys()]
        for name in written.keys() & computed.keys():
            found += differences(written[name], computed[name], f"{path}.{name}")
        return sorted(found)
    if isinstance(written, list) and isinstance(computed, list) and len(written) == len(computed):
        pairs = enumerate(zip(written, computed, strict=True))
        return [one for at, (left, right) in pairs for one in differences(left, right, f"{path}[{at}]")]
    if _number(written) and _number(computed):
        same = math.isclose(written, computed, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    else:
        same = type(written) is type(computed) and written == computed
    return [] if same else [f"{path.lstrip('.')}: {written!r} in the file, {computed!r} from the tables"]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
