"""H2: Student-DQF has the lowest latency of all variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dqf.evaluate.evidence import DQF, FASTEST, FT, KD, PTQ, SHARED, TEACHER, Evidence, system
from dqf.evaluate.macro import Estimate, MacroResamples, estimate_of
from dqf.evaluate.significance import holm
from dqf.evaluate.verdicts import (
    ALL_BITS,
    ALPHA,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Verdict,
    bits_name,
    conjunction,
    shown_p,
)

NAMES = {TEACHER: "the teacher", FT: "Student-FT", KD: "Student-KD"}
SAME_SPEED = 0.05
"""By how much the same network in the same runtime may be faster or slower by noise alone.

In the reference study pairs of packed students, all one FP32 graph in the shared runtime, differ by up to 2.3 % over 27
runs. Chosen after its figures were seen (decision 12).
"""


class Rule(NamedTuple):
    """How a session is told, and the margin within which its differences are none."""

    told: str
    margin: float


OWN = Rule("each in its fastest runtime", 0.0)
ALIKE = Rule("in the one runtime that serves all students", SAME_SPEED)
IN_ONE = Rule("all in one runtime", SAME_SPEED)


def judge_h2(evidence: Evidence) -> list[Verdict]:
    """Judge H2: Student-DQF has the lowest latency, in each one's fastest runtime and in a shared one.

    Per session (`fastest`, `shared`) and other variant (teacher, Student-FT, Student-KD, Student-PTQ of the
    same bits) the ratio is its median latency / Student-DQF's, geometric mean over tasks and runs; tasks of
    `Evidence.timed_elsewhere` do not count. The
    closest rival is the variant with the smallest ratio, Student-PTQ left out: that is the same network in
    the same format, so no difference is expected and none is demanded.

    A session is supported if all ratios but Student-PTQ's are claimed to be above 1 (p is the largest of
    theirs) and Student-PTQ's interval does not lie below 1 - `SAME_SPEED`; refuted if the closest rival's
    ratio is claimed to be below 1, or Student-PTQ's interval does lie below 1 - `SAME_SPEED`; else
    undecided. In a shared runtime, or where one serves them all, students are one network, which most runtimes expand
    to the same precision: there an interval must lie outside 1 -+ `SAME_SPEED` for a claim. A bit-width is supported
    if both sessions are, refuted if one is, else (also if no shared session was timed) undecided; its effect is that of
    the less favourable session. In total: supported if every bit-width is, refuted if one is, else undecided, with the
    least favourable effect.
    """
    pairs = [(session, bits) for bits in evidence.bits for session in (FASTEST, SHARED)]
    latencies = {session: evidence.macro_log_ms(session) for session in (FASTEST, SHARED)}
    ratios = {(session, bits): _ratios(latencies[session], bits) for session, bits in pairs}
    timed = [pair for pair in pairs if ratios[pair]]
    corrected = dict(zip(timed, holm([_h2_p(ratios[pair]) for pair in timed]), strict=True))
    rules = {FASTEST: ALIKE if evidence.one_runtime else OWN, SHARED: IN_ONE}
    verdicts = []
    for bits in evidence.bits:
        sessions = {
            session: _h2_session(ratios[session, bits], corrected[session, bits], rule.margin)
            for session, rule in rules.items()
            if (session, bits) in corrected
        }
        verdicts.append(_h2(bits, sessions, rules, evidence))
    if verdicts:
        least = min(verdicts, key=lambda one: one.effect)
        verdict = conjunction([one.verdict for one in verdicts])
        by_bits = ", ".join(f"{bits_name(one.bits)} {one.verdict}" for one in verdicts)
        sentence = f"{verdict.capitalize()}: {_over_all_bits(verdicts, rules)}; {by_bits}.{_elsewhere(evidence)}"
        verdicts.append(replace(least, bits=ALL_BITS, verdict=verdict, sentence=sentence))
    return verdicts


def _ratios(macro: MacroResamples, bits: str) -> dict[str, Estimate]:
    """Return each rival's latency / Student-DQF's; nothing unless all were timed on every task that counts."""
    own = system(DQF, bits)
    rivals = [TEACHER, FT, KD, system(PTQ, bits)]
    if any(name not in macro.scores for name in (own, *rivals)):
        return {}
    return {rival: estimate_of(partial(_speedup, rival=rival, own=own), macro, null=1.0) for rival in rivals}


def _over_all_bits(verdicts: Sequence[Verdict], rules: Mapping[str, Rule]) -> str:
    """Return how fast Student-DQF is beside its closest rivals, from the least to the most favourable bit-width."""
    parts = []
    for name, rule in rules.items():
        found = [one.details["sessions"].get(name) for one in verdicts if "sessions" in one.details]
        effects = sorted(one["effect"] for one in found if one)
        if effects:
            spread = f"{effects[0]:.2f}x" if len(effects) == 1 else f"{effects[0]:.2f}x to {effects[-1]:.2f}x"
            parts.append(f"{spread}, {rule.told}")
    return f"Student-DQF's speed relative to its closest rival is {'; '.join(parts)}" if parts else "nothing was timed"


def _speedup(log_ms: Mapping[str, Any], rival: str, own: str) -> Any:
    return np.exp(log_ms[rival] - log_ms[own])


def _closest(ratios: Mapping[str, Estimate]) -> tuple[str, Estimate]:
    """Return the fastest rival of another architecture or format."""
    others = {name: one for name, one in ratios.items() if not name.startswith(PTQ)}
    return min(others.items(), key=lambda item: item[1].value)


def _h2_p(ratios: Mapping[str, Estimate]) -> float:
    """Return the p-value of "faster than all": the largest of theirs; that of a rival that is ahead."""
    closest = _closest(ratios)[1]
    others = [one.p_value for name, one in ratios.items() if not name.startswith(PTQ)]
    return max(others) if closest.value > 1 else closest.p_value


def _h2_session(ratios: Mapping[str, Estimate], p_holm: float, margin: float) -> dict[str, Any]:
    """Return verdict and figures of one session; differences within the margin are none."""
    name, closest = _closest(ratios)
    behind_twin = next(one for rival, one in ratios.items() if rival.startswith(PTQ)).high < 1 - SAME_SPEED
    lows = [one.low for rival, one in ratios.items() if not rival.startswith(PTQ)]
    if (closest.high < 1 - margin and p_holm < ALPHA) or behind_twin:
        verdict = REFUTED
    else:
        verdict = SUPPORTED if min(lows) > 1 + margin and p_holm < ALPHA else UNDECIDED
    return {
        "verdict": verdict,
        "rival": name,
        "effect": closest.value,
        "low": closest.low,
        "high": closest.high,
        "p_value": _h2_p(ratios),
        "p_holm": p_holm,
        "behind_twin": behind_twin,
        "ratios": {rival: [one.value, one.low, one.high] for rival, one in ratios.items()},
    }


def _within_noise(one: Mapping[str, Any], margin: float) -> str:
    """Return why a lead that chance in the passes does not explain is no claim, where that is so."""
    if not margin or one["verdict"] != UNDECIDED or one["p_holm"] >= ALPHA or one["low"] <= 1 <= one["high"]:
        return ""
    return f", not by more than the {SAME_SPEED:.0%} that one network is allowed to differ from itself"


def _elsewhere(evidence: Evidence) -> str:
    """Return a sentence on tasks that do not count, with a space before it; empty if all do."""
    tasks = ", ".join(evidence.timed_elsewhere)
    return f" Not counted, as another machine timed them: {tasks}." if tasks else ""


def _h2(bits: str, sessions: Mapping[str, Mapping[str, Any]], rules: Mapping[str, Rule], evidence: Evidence) -> Verdict:
    if not sessions:
        text = f"Undecided: no latency of Student-DQF at {bits_name(bits)} was timed."
        return Verdict("H2", bits, UNDECIDED, 0.0, 0.0, 0.0, 1.0, 1.0, "ratio", text)
    verdicts = [one["verdict"] for one in sessions.values()]
    verdict = conjunction([*verdicts, *([UNDECIDED] if len(sessions) < 2 else [])])
    least = min(sessions.values(), key=lambda one: float(one["effect"]))
    parts = [
        f"{rules[name].told} it is {one['effect']:.2f}x [{one['low']:.2f}, {one['high']:.2f}] as fast as "
        f"{NAMES[one['rival']]}, the closest rival, corrected p = {shown_p(one['p_holm'])}"
        f"{', and clearly slower than Student-PTQ' if one['behind_twin'] else ''}"
        f"{_within_noise(one, rules[name].margin)}"
        for name, one in sessions.items()
    ]
    missing = [f"{rules[name].told} it was not timed" for name in rules if name not in sessions]
    told = "; ".join([*parts, *missing])
    sentence = f"{verdict.capitalize()}: Student-DQF at {bits_name(bits)}: {told}.{_elsewhere(evidence)}"
    figures = {name: least[name] for name in ("effect", "low", "high", "p_value", "p_holm")}
    details = {"sessions": dict(sessions), "not_counted": list(evidence.timed_elsewhere)}
    return Verdict("H2", bits, verdict, unit="ratio", sentence=sentence, details=details, **figures)
