"""The paper's three hypotheses, judged from measured data.

Every verdict is `supported`, `refuted` or `undecided`, per bit-width and in total, with an effect, its
95 % interval and a p-value that is Holm-corrected over the bit-widths (for H2 over bit-widths and timing
sessions); the totals of H1 and H3 are one test each, with nothing to correct. Intervals and p-values come
from a paired bootstrap that draws examples within each task and runs (seeds) within each task; the tasks
themselves are fixed, so a verdict speaks of these tasks only. A claim about an effect is made if its 95 %
interval excludes "no effect" and its corrected p-value is below 0.05; everything else is undecided. H1 and
H3 are about scores: tasks whose teacher does no better than one answer to all do not count for them, and
where three tasks or more do, a claim must also stand (95 % interval) without any one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dqf.evaluate.evidence import DQF, FT, KD, PTQ, TEACHER, Evidence, system
from dqf.evaluate.intervals import ratios_of
from dqf.evaluate.lowest_latency import judge_h2
from dqf.evaluate.macro import Estimate, MacroResamples, estimate_of
from dqf.evaluate.one_task import as_details, left_out, needs_in_words, rests_on
from dqf.evaluate.significance import cohens_d, cohens_dz, holm, paired_t_test, welch_t_test
from dqf.evaluate.verdicts import (
    ALL_BITS,
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Verdict,
    bits_name,
    claim_of,
    geometric_mean,
    in_words,
    shown_p,
)

__all__ = ["WELL_ABOVE", "Verdict", "judge", "judge_h1", "judge_h2", "judge_h3"]

WELL_ABOVE = 1.5
"""H1: how many times smaller than Student-KD's file Student-DQF's must be to be "well above" it."""


def judge(evidence: Evidence) -> dict[str, list[Verdict]]:
    """Return the verdicts on H1, H2 and H3: one per bit-width and then the one over all of them."""
    return {"H1": judge_h1(evidence), "H2": judge_h2(evidence), "H3": judge_h3(evidence)}


@dataclass(frozen=True)
class _Ground:
    """What claims about scores stand on.

    Attributes:
        evidence: of the study.
        tasks: that count.
        macro: averages over them.
        without: averages without each in turn, where there are enough.
        telling: whether any teacher does better than one answer to all; if none does all tasks stand here, and
            nothing is claimed.
    """

    evidence: Evidence
    tasks: tuple[str, ...]
    macro: MacroResamples
    without: Mapping[str, MacroResamples]
    telling: bool

    @classmethod
    def of(cls, evidence: Evidence) -> _Ground:
        """Return that of a study."""
        tasks = evidence.telling or evidence.tasks
        return cls(evidence, tasks, evidence.macro(tasks), left_out(evidence, tasks), bool(evidence.telling))

    @property
    def _not_counted(self) -> list[str]:
        return [task for task in self.evidence.tasks if task not in self.tasks]

    @property
    def details(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return {"not_counted": self._not_counted}

    @property
    def in_words(self) -> str:
        """A sentence on tasks that do not count, with a space before it; empty if all do."""
        if not self.telling:
            return " The claim is not made: no task's teacher does better than one answer to all."
        if not self._not_counted:
            return ""
        return f" Not counted, as its teacher does no better than one answer to all: {', '.join(self._not_counted)}."


def judge_h1(evidence: Evidence) -> list[Verdict]:
    """Judge H1: much smaller than Student-KD, and closer to the teacher than Student-PTQ.

    Compression: bytes of Student-KD's FP16 file / bytes of Student-DQF's, geometric mean over tasks;
    "well above" means at least `WELL_ABOVE`. File sizes are exact, so this needs no test.

    Closeness: a variant's shortfall is max(0, teacher's macro score - its own), so a score above the
    teacher's is as close as can be. The effect is Student-PTQ's shortfall - Student-DQF's.

    Supported if the compression is well above and the effect is claimed to be above 0; refuted if the
    compression is not well above or the effect is claimed to be below 0; else undecided. In total: the
    same with the mean effect and the geometric mean compression over all bit-widths.
    """
    ground = _Ground.of(evidence)
    effects = [estimate_of(partial(_closer, bits=bits), ground.macro) for bits in evidence.bits]
    corrected = holm([one.p_value for one in effects])
    ratios = {bits: geometric_mean(evidence.compression(system(DQF, bits), KD)) for bits in evidence.bits}

    def needed(effect: Estimate, p_holm: float, bits: tuple[str, ...]) -> dict[str, Estimate]:
        return rests_on(claim_of(effect, p_holm), lambda s: _mean(_closer, s, bits), ground.without)

    verdicts = [
        _h1(ground, bits, effect, p_holm, ratios[bits], needed(effect, p_holm, (bits,)))
        for bits, effect, p_holm in zip(evidence.bits, effects, corrected, strict=True)
    ]
    if verdicts:
        pooled = estimate_of(lambda s: _mean(_closer, s, evidence.bits), ground.macro)
        needs = needed(pooled, pooled.p_value, evidence.bits)
        verdicts.append(_h1(ground, ALL_BITS, pooled, pooled.p_value, geometric_mean(ratios), needs))
    return verdicts


def _mean(effect: Callable[[Mapping[str, Any], str], Any], scores: Mapping[str, Any], widths: tuple[str, ...]) -> Any:
    """Return an effect averaged over bit-widths."""
    return sum(effect(scores, bits) for bits in widths) / len(widths)


def _h1(
    ground: _Ground,
    bits: str,
    effect: Estimate,
    p_holm: float,
    ratio: float,
    needs: Mapping[str, Estimate],
) -> Verdict:
    smaller = ratio >= WELL_ABOVE
    claim = 0 if needs or not ground.telling else claim_of(effect, p_holm)
    verdict = REFUTED if not smaller or claim < 0 else SUPPORTED if claim > 0 else UNDECIDED
    details: dict[str, Any] = {
        "compression_over_student_kd": ratio,
        "well_above": WELL_ABOVE,
        **ground.details,
        **as_details(needs),
    }
    what = "over all bit-widths, Student-DQF" if bits == ALL_BITS else f"at {bits_name(bits)}, Student-DQF"
    if bits != ALL_BITS:
        names = (system(DQF, bits), system(PTQ, bits))
        details["shortfall_dqf"], details["shortfall_ptq"] = (
            max(0.0, ground.macro.scores[TEACHER] - ground.macro.scores[name]) for name in names
        )
        details |= _over_seeds(ground, *names)
    sentence = (
        f"{verdict.capitalize()}: {what} is {ratio:.1f}x smaller than Student-KD "
        f"({'at least' if smaller else 'less than'} the {WELL_ABOVE:g}x asked for), and its macro score is "
        f"{in_words(effect, 'closer to', 'farther from')} the teacher's than Student-PTQ's, {_p(bits, p_holm)}."
        f"{needs_in_words(needs)}{ground.in_words}"
    )
    return Verdict(
        "H1", bits, verdict, effect.value, effect.low, effect.high, effect.p_value, p_holm, "score", sentence, details
    )


def _closer(scores: Mapping[str, Any], bits: str) -> Any:
    """Return how much closer to the teacher Student-DQF is than Student-PTQ."""
    shortfall = {name: np.maximum(0.0, scores[TEACHER] - scores[system(name, bits)]) for name in (PTQ, DQF)}
    return shortfall[PTQ] - shortfall[DQF]


def judge_h3(evidence: Evidence) -> list[Verdict]:
    """Judge H3: Student-KD keeps a larger share of its own score after quantization than Student-FT.

    The share kept is macro score after / before quantization. The effect is Student-KD's share (DQF / KD) -
    Student-FT's (PTQ / FT), paired over tasks and seeds: both are computed on the same examples and the
    same draws of seeds. Supported if it is claimed to be above 0, refuted if below, else undecided. In
    total: the same with the mean effect over all bit-widths. A paired t-test over the (task, seed) pairs
    of shares is shown beside it; pairs with a score of 0 or less before quantization are left out there.
    """
    ground = _Ground.of(evidence)
    effects = [estimate_of(partial(_share_gain, bits=bits), ground.macro) for bits in evidence.bits]
    corrected = holm([one.p_value for one in effects])

    def needed(effect: Estimate, p_holm: float, bits: tuple[str, ...]) -> dict[str, Estimate]:
        return rests_on(claim_of(effect, p_holm), lambda s: _mean(_share_gain, s, bits), ground.without)

    verdicts = [
        _h3(ground, bits, effect, p_holm, needed(effect, p_holm, (bits,)))
        for bits, effect, p_holm in zip(evidence.bits, effects, corrected, strict=True)
    ]
    if verdicts:
        pooled = estimate_of(lambda s: _mean(_share_gain, s, evidence.bits), ground.macro)
        needs = needed(pooled, pooled.p_value, evidence.bits)
        verdicts.append(_h3(ground, ALL_BITS, pooled, pooled.p_value, needs))
    return verdicts


def _share_gain(scores: Mapping[str, Any], bits: str) -> Any:
    """Return how much larger a share Student-KD keeps; not a number where a score before quantization is 0 or less."""
    return ratios_of(scores[system(DQF, bits)], scores[KD]) - ratios_of(scores[system(PTQ, bits)], scores[FT])


def _h3(ground: _Ground, bits: str, effect: Estimate, p_holm: float, needs: Mapping[str, Estimate]) -> Verdict:
    claim = 0 if needs or not ground.telling else claim_of(effect, p_holm)
    verdict = SUPPORTED if claim > 0 else REFUTED if claim < 0 else UNDECIDED
    what = "over all bit-widths" if bits == ALL_BITS else f"at {bits_name(bits)}"
    details: dict[str, Any] = {**ground.details, **as_details(needs)}
    kept = ""
    if bits != ALL_BITS:
        shares = estimate_of(lambda s: ratios_of(s[system(DQF, bits)], s[KD]), ground.macro).value
        shares_ft = estimate_of(lambda s: ratios_of(s[system(PTQ, bits)], s[FT]), ground.macro).value
        kept = f" ({shares:.1%} against {shares_ft:.1%})"
        details |= {"share_kept_kd": shares, "share_kept_ft": shares_ft, **_over_pairs(ground, bits)}
    sentence = (
        f"{verdict.capitalize()}: {what}, Student-KD keeps {in_words(effect, 'more', 'less')} of its own score after "
        f"quantization than Student-FT{kept}, {_p(bits, p_holm)}.{needs_in_words(needs)}{ground.in_words}"
    )
    return Verdict(
        "H3", bits, verdict, effect.value, effect.low, effect.high, effect.p_value, p_holm, "share", sentence, details
    )


def _p(bits: str, p_holm: float) -> str:
    """Return the p-value in words: that over all bit-widths is of one test, so nothing was corrected."""
    return f"{'p' if bits == ALL_BITS else 'corrected p'} = {shown_p(p_holm)}"


def _over_pairs(ground: _Ground, bits: str) -> dict[str, Any]:
    """Return the paired t-test of the shares kept over (task, seed) pairs."""
    distilled, plain = [], []
    for task in (ground.evidence.scores[name] for name in ground.tasks):
        for after_kd, kd, after_ft, ft in zip(
            *(task.scores[name] for name in (system(DQF, bits), KD, system(PTQ, bits), FT)), strict=True
        ):
            if kd > 0 and ft > 0:
                distilled.append(after_kd / kd)
                plain.append(after_ft / ft)
    test = paired_t_test(distilled, plain)
    return {
        "pairs": len(distilled),
        "paired_t_difference": test.difference,
        "paired_t_p_value": test.p_value,
        "cohens_dz": cohens_dz(distilled, plain),
    }


def _over_seeds(ground: _Ground, one: str, other: str) -> dict[str, Any]:
    """Return the paper's two-sample t-test over seeds, and the paired one, on the tasks that have several.

    Nothing but the number of seeds where there are not two that these tasks share: one seed tests nothing.
    """
    tasks = [task for task in ground.tasks if len(ground.evidence.seeds[task]) > 1]
    first, second = (ground.evidence.seed_scores(name, tasks) for name in (one, other))
    if len(first) < 2:
        return {"seeds": max(len(first), 1)}
    return {
        "seeds": len(first),
        "seed_tasks": tasks,
        "welch_p_value": welch_t_test(first, second).p_value,
        "paired_t_p_value": paired_t_test(first, second).p_value,
        "cohens_d": cohens_d(first, second),
    }
