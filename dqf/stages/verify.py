"""Verify: reload the artifact in fresh processes, compare its logits by every runtime, and time those that agree."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.artifacts import open_artifact
from dqf.data.tasks import REGRESSION
from dqf.errors import UserError
from dqf.evaluate.agreement import agreement
from dqf.registry import Entry
from dqf.runtimes._select import candidates, installed_runtimes
from dqf.serving.client import Served, ServingEnded, ServingError, write_examples
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages._turns import turns
from dqf.stages.export import ARTIFACT, REFERENCE, probe_rows

VERSION = 10
TOLERANCE = 0.08
"""Largest relative L2 error of the logits against the in-memory FP32 model: BF16 costs 0.5 to 5 %."""
TIMED_ROUNDS = 60
TRIAL_PASSES = 4
TRIES = 2
"""A process may be killed by chance, as memory is short: cached, that would rule its runtime out for good."""
ENDED = "ended"
HOPELESS = 2.0
"""A candidate this many times slower than the fastest in its first passes is looked at no further."""
FAR_SLOWER = 3.0
"""One this many times slower for another variant of the same network is not even started."""
FILE = "verification.json"


def verify_artifact(
    context: Context, export: Output, stage: str, prefer: str | None = None, slow: Collection[str] = ()
) -> Output:
    """Return a folder with `verification.json`: all candidates, compared and measured; at least one is faithful.

    Args:
        context: of the run.
        export: output of the export stage.
        stage: id of this stage.
        prefer: runtime already chosen for a variant of the same shape and bits. If this artifact's logits
            agree there too no other is looked at, so that such variants differ in their weights alone.
        slow: runtimes that were far slower for another variant of the same network (`far_slower`). They are
            started only if no other runtime is faithful.

    Raises:
        UserError: no runtime reproduces the in-memory model's logits.
    """

    def work(folder: Path) -> dict[str, Any]:
        artifact = export.folder / ARTIFACT
        reference = np.load(export.folder / REFERENCE)
        device = context.device.type
        entries = candidates(open_artifact(artifact), device, context.config.measurement.runtime)
        probe = context.task.evaluation.take(probe_rows(context.task))
        write_examples(probe, folder / "probe.json")
        quick = worth_starting(entries, slow, prefer)
        rows = _measure(context, artifact, folder, quick, reference, prefer)
        if any(row["faithful"] for row in rows):
            rows += [
                _row(entry) | {"error": "not started: far slower for another variant of this network"}
                for entry in entries
                if entry not in quick
            ]
        else:
            # Those asked for or known to be quick are not faithful here: nothing computed is lost, another one serves.
            tried = {entry.name for entry in quick}
            others = [entry for entry in candidates(open_artifact(artifact), device, "auto") if entry.name not in tried]
            rows += _measure(context, artifact, folder, others, reference, None)
        (folder / "probe.json").unlink()
        agreeing = sum(row["faithful"] for row in rows)
        if not agreeing:
            raise UserError(
                f"some runtime must reproduce the model's logits within {TOLERANCE:.0%}: none of "
                f"{', '.join(row['runtime'] for row in rows)} did for {stage}; see serving.log in {folder}."
            )
        result = {"candidates": rows, "tolerance": TOLERANCE, "n": len(reference)}
        (folder / FILE).write_text(json.dumps(result, indent=1), encoding="utf-8")
        return {"runtimes": len(rows), "faithful": agreeing}

    facts = {
        "runtime": context.config.measurement.runtime,
        "prefer": prefer,
        "slow": sorted(slow),
        **context.serving_facts(),
        "installed": installed_runtimes(),  # what was chosen among others, or is gone by now, is chosen again
    }
    return context.cache.run(stage, version=VERSION, config=facts, inputs=(export,), work=work)


def worth_starting(entries: list[Entry], slow: Collection[str], prefer: str | None) -> list[Entry]:
    """Return the candidates that were not far slower before; the preferred one stays, all if none is left."""
    return [entry for entry in entries if entry.name == prefer or entry.name not in slow] or entries


def _measure(
    context: Context,
    artifact: Path,
    folder: Path,
    entries: list[Entry],
    reference: NDArray[Any],
    prefer: str | None,
) -> list[dict[str, Any]]:
    """Load the artifact by each runtime in a process of its own, compare logits, and time what agrees."""
    preferred = [entry for entry in entries if entry.name == prefer]
    rows: list[dict[str, Any]] = []
    served: dict[str, Served] = {}
    try:
        for at, entry in enumerate([*preferred, *(entry for entry in entries if entry.name != prefer)]):
            context.reporter.progress(at, len(entries) + 1)
            for _ in range(TRIES):
                row = _row(entry)
                one = _first_look(context, artifact, folder, row, rows, served, reference)
                if not row.pop(ENDED, False):
                    break
            rows.append(row)
            if one is not None:
                served[entry.name] = one
            _drop_hopeless(rows, served)
            if row["faithful"] and entry.name == prefer:
                break
        _time(rows, served, len(reference))
    finally:
        for one in served.values():
            one.close()
    return rows


def _row(entry: Entry) -> dict[str, Any]:
    """Return what is recorded of a candidate before anything is known about it."""
    return {"runtime": entry.name, "precision": entry.facts["precision"], "faithful": False, "error": ""}


def _first_look(
    context: Context,
    artifact: Path,
    folder: Path,
    row: dict[str, Any],
    rows: list[dict[str, Any]],
    served: dict[str, Served],
    reference: NDArray[Any],
) -> Served | None:
    """Start a candidate, time its first passes and compare its logits; its row says what came of it.

    Args:
        context: of the run.
        artifact: folder of the artifact.
        folder: for the log and scratch files.
        row: of the candidate.
        rows: of those before it.
        served: their processes, of those that may still win.
        reference: logits of the model in memory.

    Returns:
        Its process; None if it could not serve, and none runs any more.
    """
    device, log = context.device.type, folder / "serving.log"
    one = None
    try:
        one = Served(artifact, row["runtime"], context.threads, device, log, context.reporter)
        one.encode(folder / "probe.json")
        row["latency_ms_p50"] = row["trial_ms"] = _trial_ms(one)
        if slower := _far_behind(row, rows, {**served, row["runtime"]: one}):
            row["error"] = f"not compared: {slower}"
        else:
            row |= faithful(reference, one.logits(folder / "logits.npy"), context.task.kind == REGRESSION)
        return one
    except BaseException as error:
        if one is not None:
            one.close()
        if not isinstance(error, ServingError):
            raise
        row |= {"error": str(error), "faithful": False, ENDED: isinstance(error, ServingEnded)}
        return None


def read_verification(output: Output) -> dict[str, Any]:
    """Return the content of `verification.json`."""
    data: dict[str, Any] = json.loads((output.folder / FILE).read_text(encoding="utf-8"))
    return data


def far_slower(rows: list[dict[str, Any]]) -> set[str]:
    """Return the runtimes whose first passes alone ruled them out by far: other bits will not change that."""
    timed = [row for row in rows if "trial_ms" in row]
    best = min(row["trial_ms"] for row in timed if row["faithful"])
    return {row["runtime"] for row in timed if row["trial_ms"] > FAR_SLOWER * best}


def faithful(reference: NDArray[Any], logits: NDArray[Any], regression: bool) -> dict[str, Any]:
    """Return how a runtime's logits agree with the in-memory model's, within the bounds of runtimes."""
    found = agreement(reference, logits, regression, TOLERANCE)
    del found["flips"]  # the share says it
    return found


def _trial_ms(one: Served) -> float:
    """Return the ms of the fastest of a few passes: what disturbs makes some slower, never one faster."""
    return min(one.time_ms(0) for _ in range(TRIAL_PASSES))


def _far_behind(row: dict[str, Any], rows: list[dict[str, Any]], served: dict[str, Served]) -> str:
    """Return by how much a candidate's first passes are behind the fastest faithful one's; empty if it may still win.

    Both are timed once more, one right after the other, before that is said: what slowed one down may be over.
    """
    agreeing = [one for one in rows if one["faithful"] and one["runtime"] in served]
    best = min(agreeing, key=lambda one: one["trial_ms"], default=row)
    if row["trial_ms"] <= HOPELESS * best["trial_ms"]:
        return ""
    for one in (best, row):
        one["latency_ms_p50"] = one["trial_ms"] = min(one["trial_ms"], _trial_ms(served[one["runtime"]]))
    times = row["trial_ms"] / best["trial_ms"]
    return "" if times <= HOPELESS else f"{times:.1f} times as slow as {best['runtime']} in its first passes"


def _drop_hopeless(rows: list[dict[str, Any]], served: dict[str, Served]) -> None:
    """End the processes that cannot win, so that only few models are in memory at a time."""
    for row in rows:
        if row["runtime"] not in served:
            continue
        if row["faithful"] and (slower := _far_behind(row, rows, served)):
            row["error"] = f"not timed further: {slower}"
        if row["error"] or not row["faithful"]:
            served.pop(row["runtime"]).close()


def _time(rows: list[dict[str, Any]], served: dict[str, Served], examples: int) -> None:
    """Time the candidates left in the turns that variants are timed in."""
    times: dict[str, list[float]] = {name: [] for name in served}
    for name, turn in turns(list(served), TIMED_ROUNDS):
        times[name] += [served[name].time_ms(at % examples) for at in turn]
    for row in rows:
        if row["runtime"] in times:
            row["latency_ms_p50"] = float(np.median(times[row["runtime"]]))
