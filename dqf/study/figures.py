"""The figures of a variant: score, retention, size and speed with intervals, per task and averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from dqf.evaluate.evidence import DQF, FASTEST, FP16, FT, KD, PTQ, SHARED, TEACHER, Evidence, system
from dqf.evaluate.intervals import ratios_of
from dqf.evaluate.macro import Estimate, MacroResamples, TaskResamples, difference_of, estimate_of, macro_average
from dqf.evaluate.metrics import interval_for, majority_score, metric
from dqf.evaluate.significance import cohens_g, count_flips, mcnemar_exact

WNLI = "wnli"


class Averages:
    """The macro averages over some tasks, each computed when it is first asked for."""

    def __init__(self, evidence: Evidence, tasks: Sequence[str]) -> None:
        self.evidence = evidence
        self.tasks = tuple(tasks)

    @cached_property
    def scores(self) -> MacroResamples:
        """Scores, examples and seeds resampled."""
        return self.evidence.macro(self.tasks)

    @cached_property
    def scores_examples(self) -> MacroResamples:
        """Scores, examples alone resampled."""
        return self.evidence.macro(self.tasks, resample_seeds=False)

    @cached_property
    def log_ms(self) -> dict[str, MacroResamples]:
        """Log latencies by session."""
        return {session: self.evidence.macro_log_ms(session, self.tasks) for session in (FASTEST, SHARED)}


def figures_of(averages: Averages, names: Sequence[str], variants: pd.DataFrame) -> dict[str, Any]:
    """Return the macro figures of a system, or the mean over several.

    Args:
        averages: over the tasks wanted.
        names: systems; several are averaged (compression and speed-up geometrically).
        variants: rows of the study's `variants` that belong to them.
    """
    scores, evidence = averages.scores, averages.evidence
    retention, examples = (_retention(one, names) for one in (scores, averages.scores_examples))
    difference = estimate_of(lambda s: _mean(s, names) - s[TEACHER], scores)
    seeds = sorted({seed for task in averages.tasks for seed in evidence.seeds[task]})
    return {
        **_with_interval("score", estimate_of(lambda s: _mean(s, names), scores)),
        "teacher_score": scores.scores[TEACHER],
        **_with_interval("retention", retention),
        "retention_examples_ci95_low": None if examples is None else examples.low,
        "retention_examples_ci95_high": None if examples is None else examples.high,
        **_with_interval("difference", difference),
        "difference_p_value": difference.p_value,
        "compression_ratio": _compression(evidence, averages.tasks, names),
        "size_bytes": float(np.mean([evidence.size_bytes[task][name] for task in averages.tasks for name in names])),
        **_speed("speedup", averages.log_ms[FASTEST], names),
        **_speed("speedup_shared", averages.log_ms[SHARED], names),
        "latency_ms_p50": _latency(averages.log_ms[FASTEST], names),
        "n": sum(evidence.scores[task].n for task in averages.tasks),
        "seeds": seeds,
        "runtimes": sorted(set(variants["runtime"])),
    }


def task_row(
    averages: Averages, names: Sequence[str], variants: pd.DataFrame, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the figures of one task.

    Args:
        averages: over this one task.
        names: systems.
        variants: rows of the study's `variants` that belong to them, on this task.
        facts: of the task, from `study.json`.
    """
    task, evidence = averages.tasks[0], averages.evidence
    metric_name = evidence.metrics[task]
    return {
        "task": task,
        "metric": metric_name,
        **figures_of(averages, names, variants),
        **_score_interval(evidence, task, names),
        "seed_scores": [float(np.mean(one)) for one in zip(*_by_seed(evidence, task, names), strict=True)],
        "majority": majority_score(metric_name, evidence.labels[task]),
        "published": facts.get("published"),
        "further": [_further(name, found, names) for name, found in evidence.further[task].items()],
        **_changes(evidence, task, names),
    }


def _score_interval(evidence: Evidence, task: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the interval of a score on one task and how it was found: Wilson's for the accuracy of one model."""
    found = evidence.predictions[task][names[0]]
    if len(names) == len(found) == 1 and metric(evidence.metrics[task]).name == "accuracy":
        low, high, how = interval_for("accuracy", evidence.labels[task], found[0])
        return {"score_ci95_low": low, "score_ci95_high": high, "score_ci_method": how}
    return {"score_ci_method": "bootstrap"}


def _further(name: str, found: TaskResamples, names: Sequence[str]) -> dict[str, Any]:
    """Return a score in a metric that is no part of any average, and the teacher's."""
    macro = macro_average([found], resample_seeds=True)
    score = estimate_of(lambda s: _mean(s, names), macro)
    return {"metric": name, **_with_interval("score", score), "teacher_score": macro.scores[TEACHER]}


def macro_figures(
    evidence: Evidence,
    names: Sequence[str],
    variants: pd.DataFrame,
    facts: Mapping[str, Any],
    cache: dict[Any, Averages],
) -> dict[str, Any]:
    """Return figures over all tasks, without WNLI, by seed, and one row per task.

    Args:
        evidence: of one condition.
        names: systems.
        variants: rows of the study's `variants` that belong to them.
        facts: of all tasks, from `study.json`.
        cache: averages by tasks, shared between calls.
    """

    def averages(tasks: tuple[str, ...]) -> Averages:
        return cache.setdefault(tasks, Averages(evidence, tasks))

    tasks = evidence.tasks
    others = tuple(task for task in tasks if task != WNLI)
    without = None
    if others and others != tasks:
        all_figures = figures_of(averages(others), names, variants)
        kept = ("score", "teacher_score", "retention", "retention_ci95_low", "retention_ci95_high")
        without = {name: all_figures[name] for name in kept}
    by_system = [evidence.seed_scores(name) for name in names]
    return {
        **figures_of(averages(tasks), names, variants),
        "seed_scores": np.mean(by_system, axis=0).tolist(),
        "without_wnli": without,
        "tasks": [
            task_row(averages((task,)), names, variants[variants["task"] == task], facts.get(task, {}))
            for task in tasks
        ],
    }


def what_distillation_pays(evidence: Evidence) -> list[dict[str, Any]]:
    """Return by bit-width what the distilled student's macro score is above the plain one's, seeds and rows paired.

    Student-KD minus Student-FT at 16 bits, Student-DQF minus Student-PTQ below.
    """
    macro = evidence.macro()
    pairs = [(FP16, KD, FT), *((bits, system(DQF, bits), system(PTQ, bits)) for bits in evidence.bits)]
    rows = []
    for bits, distilled, plain in pairs:
        if distilled not in macro.scores or plain not in macro.scores:
            continue
        found = difference_of(macro, distilled, plain)
        rows.append(
            {
                "bits": bits,
                "score": macro.scores[distilled],
                "plain_score": macro.scores[plain],
                **_with_interval("difference", found),
                "p_value": found.p_value,
            }
        )
    return rows


def _mean(scores: Mapping[str, Any], names: Sequence[str]) -> Any:
    return sum(scores[name] for name in names) / len(names)


def _retention(scores: MacroResamples, names: Sequence[str]) -> Estimate | None:
    """Return the share of the teacher's score that is kept; None where the teacher's is 0 or less, as a run does."""
    if scores.scores[TEACHER] <= 0:
        return None
    return estimate_of(lambda s: ratios_of(_mean(s, names), s[TEACHER]), scores, null=1.0)


def _with_interval(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """Return a figure with the limits of its interval, all None where there is none."""
    found = (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
    return dict(zip((name, f"{name}_ci95_low", f"{name}_ci95_high"), found, strict=True))


def _compression(evidence: Evidence, tasks: Sequence[str], names: Sequence[str]) -> float:
    logs = [np.log(evidence.compression(name, TEACHER)[task]) for task in tasks for name in names]
    return float(np.exp(np.mean(logs)))


def _speed(name: str, log_ms: MacroResamples, names: Sequence[str]) -> dict[str, float | None]:
    if TEACHER not in log_ms.scores or any(one not in log_ms.scores for one in names):
        return _with_interval(name, None)
    return _with_interval(name, estimate_of(lambda s: np.exp(s[TEACHER] - _mean(s, names)), log_ms, null=1.0))


def _latency(log_ms: MacroResamples, names: Sequence[str]) -> float | None:
    if any(one not in log_ms.scores for one in names):
        return None
    return float(np.exp(_mean(log_ms.scores, names)))


def _by_seed(evidence: Evidence, task: str, names: Sequence[str]) -> list[Any]:
    """Return the scores by seed of each system; the teacher's one score stands for all seeds."""
    return [evidence.scores[task].scores[name] for name in names]


def _changes(evidence: Evidence, task: str, names: Sequence[str]) -> dict[str, Any]:
    """Return flips against the teacher, summed over seeds, and McNemar's p-value by seed."""
    if metric(evidence.metrics[task]).name == "pearson_spearman" or len(names) != 1:
        return {"flips": None, "mcnemar_p_values": None}
    labels, teacher = evidence.labels[task], evidence.predictions[task][TEACHER][0]
    students = evidence.predictions[task][names[0]]
    flips = [count_flips(labels, one, teacher) for one in students]
    sums: dict[str, Any] = {
        name: sum(getattr(one, name) for one in flips)
        for name in ("right_to_wrong", "wrong_to_right", "net", "changed", "n")
    }
    return {
        "flips": {**sums, "cohens_g": cohens_g(sums["right_to_wrong"], sums["wrong_to_right"])},
        "mcnemar_p_values": [mcnemar_exact(labels, teacher, one)[2] for one in students],
    }
