"""Does a claim rest on one task? Leave each out in turn: an average over few tasks can be one task's doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dqf.evaluate.evidence import Evidence
from dqf.evaluate.macro import Estimate, MacroResamples, estimate_of
from dqf.evaluate.verdicts import points

FEWEST = 3
"""Tasks that a study must have for this question."""


def left_out(evidence: Evidence, tasks: Sequence[str]) -> dict[str, MacroResamples]:
    """Return the macro averages over tasks without each in turn, by that task; nothing for fewer than `FEWEST`."""
    if len(tasks) < FEWEST:
        return {}
    return {task: evidence.macro([one for one in tasks if one != task]) for task in tasks}


def rests_on(
    claim: int, statistic: Callable[[Mapping[str, Any]], Any], without: Mapping[str, MacroResamples]
) -> dict[str, Estimate]:
    """Return the effect without each task that a claim cannot do without.

    Args:
        claim: 1 or -1 for an effect claimed to lie above or below 0, 0 for none.
        statistic: scores to effect.
        without: of `left_out`.

    Returns:
        By task, the effect without it, where its 95 % interval then holds 0 or lies on the other side.
    """
    effects = {task: estimate_of(statistic, macro) for task, macro in without.items()} if claim else {}
    return {task: one for task, one in effects.items() if min(claim * one.low, claim * one.high) <= 0}


def needs_in_words(found: Mapping[str, Estimate]) -> str:
    """Return the sentence that says so, with a space before it; empty if the claim stands without any one task."""
    if not found:
        return ""
    told = "; ".join(f"without {task} it is {points(one)}" for task, one in found.items())
    return f" The claim is not made, as it rests on single tasks: {told}."


def as_details(found: Mapping[str, Estimate]) -> dict[str, Any]:
    """Return the same as JSON can hold it."""
    return {"rests_on": {task: {"effect": one.value, "low": one.low, "high": one.high} for task, one in found.items()}}
