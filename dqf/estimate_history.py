"""What past runs took against what was estimated for them, and the corrections that follow; no torch here."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dqf.environment import cpu_name
from dqf.estimate import PARTS, TEACHER, Estimate
from dqf.jobs import protocol
from dqf.settings import Settings

FILE = "estimate.json"
MEMORY = "memory"
LATEST = 40
"""So many runs are looked at, the latest first."""
LEAST_SECONDS = 1.0
"""Parts that took less are start-up noise."""
FURTHEST = 8.0
"""A part that took so many times more or less than estimated was disturbed (a paused or overloaded machine)."""


STALE_S = 60.0


@dataclass(frozen=True)
class Past:
    """One run that was estimated and then carried out.

    Attributes:
        run_id: of the run.
        seconds: (estimated, actual) by part of the run, of the parts that were really computed.
        memory: (estimated, actual) peak in bytes, None if the teacher was not trained in it.
    """

    run_id: str
    seconds: Mapping[str, tuple[float, float]]
    memory: tuple[float, float] | None


@dataclass(frozen=True)
class Correction:
    """How estimates of this machine are corrected.

    Attributes:
        factors: by part; 1 where nothing is known.
        runs: past runs it comes from.
        error_before, error_after: median factor by which estimates of time were off, uncorrected and corrected by
            the other runs alone; None without at least two runs.
    """

    factors: Mapping[str, float]
    runs: int
    error_before: float | None
    error_after: float | None

    def apply(self, estimate: Estimate) -> Estimate:
        """Return an estimate with its parts and memory corrected."""
        parts = {part: seconds * self.factors.get(part, 1.0) for part, seconds in estimate.parts.items()}
        return replace(estimate, parts=parts, memory_bytes=round(estimate.memory_bytes * self.factors.get(MEMORY, 1.0)))


_CORRECTIONS: dict[tuple[Path, int], tuple[float, Correction]] = {}


def write_estimate(run_dir: Path, estimate: Estimate, threads: int) -> None:
    """Keep what was estimated, uncorrected, beside the run's config."""
    data = {"parts": dict(estimate.parts), "memory_bytes": estimate.memory_bytes, "machine": _machine(threads)}
    protocol.write_json(run_dir / FILE, data)


def current_correction(settings: Settings) -> Correction:
    """Return the correction that the past runs suggest, read anew when the last reading is a minute old."""
    key = settings.runs_dir, settings.threads
    read, correction = _CORRECTIONS.get(key, (-math.inf, None))
    if correction is None or time.monotonic() - read > STALE_S:
        correction = correction_from(read_past(settings))
        _CORRECTIONS[key] = time.monotonic(), correction
    return correction


def read_past(settings: Settings) -> list[Past]:
    """Return the finished runs of this machine that were estimated, the latest first."""
    found = []
    for run_dir in reversed(protocol.list_runs(settings.runs_dir)):
        estimated = protocol.read_json(run_dir / FILE)
        if not isinstance(estimated, dict) or estimated.get("machine") != _machine(settings.threads):
            continue
        result = protocol.read_json(run_dir / "result.json")
        if not isinstance(result, dict):
            continue
        past = _compare(run_dir.name, estimated, result)
        if past.seconds:
            found.append(past)
        if len(found) == LATEST:
            break
    return found


def correction_from(past: Sequence[Past]) -> Correction:
    """Return the correction that past runs suggest.

    Each factor is the geometric median of actual over estimated, an imagined run that met its estimate included:
    one run moves it half the way.
    """
    before, after = [], []
    for left_out in past if len(past) > 1 else ():
        factors = _factors([one for one in past if one is not left_out])
        actual = sum(taken for _, taken in left_out.seconds.values())
        before.append(_off(sum(guess for guess, _ in left_out.seconds.values()), actual))
        after.append(_off(sum(guess * factors.get(part, 1.0) for part, (guess, _) in left_out.seconds.items()), actual))
    return Correction(
        _factors(past),
        len(past),
        statistics.median(before) if before else None,
        statistics.median(after) if after else None,
    )


def _factors(past: Sequence[Past]) -> dict[str, float]:
    pairs: dict[str, list[tuple[float, float]]] = {}
    for one in past:
        for part, pair in one.seconds.items():
            pairs.setdefault(part, []).append(pair)
        if one.memory is not None:
            pairs.setdefault(MEMORY, []).append(one.memory)
    return {
        part: math.exp(statistics.median([0.0, *(math.log(taken / guess) for guess, taken in known)]))
        for part, known in pairs.items()
    }


def _off(guess: float, taken: float) -> float:
    return max(guess / taken, taken / guess)


def _compare(run_id: str, estimated: Mapping[str, Any], result: Mapping[str, Any]) -> Past:
    seconds = {}
    stages = result.get("stages", ())
    for part, names in PARTS.items():
        own = [stage for stage in stages if stage["id"].partition(":")[0] in names]
        guess = float(estimated["parts"].get(part, 0.0))
        taken = sum(float(stage["seconds"]) for stage in own)
        computed = bool(own) and all(stage["cache"] == "miss" for stage in own)
        if computed and min(guess, taken) >= LEAST_SECONDS and _off(guess, taken) <= FURTHEST:
            seconds[part] = guess, taken
    trained = [stage for stage in stages if stage["id"] == TEACHER and stage["cache"] == "miss"]
    peaks = [float(stage["metrics"].get("peak_memory_bytes", 0)) for stage in trained]
    memory = (float(estimated["memory_bytes"]), peaks[0]) if peaks and peaks[0] > 0 else None
    return Past(run_id, seconds, memory)


def _machine(threads: int) -> dict[str, Any]:
    return {"cpu": cpu_name(), "threads": threads}
