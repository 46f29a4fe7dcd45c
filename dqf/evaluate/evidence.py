"""From plain data frames to resampled scores and latencies, the ground that verdicts stand on.

Three frames, one row per

* variant of a run: `task, seed, variant, bits, metric, size_bytes`;
* prediction: `task, seed, variant, bits, idx, label, prediction`;
* timed pass: `task, seed, session, variant, bits, row, ms`.

`bits` is text: `16` for FP16 files, else `8`, `4`, `mixed3.5`. `session` is `fastest` where each variant
ran in its own fastest faithful runtime, `shared` where all ran in the same one. The teacher has
predictions once per task, under any seed; it is timed in every run, beside that run's students.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dqf.errors import UserError
from dqf.evaluate.macro import N_RESAMPLES, MacroResamples, TaskResamples, macro_average, resample_task
from dqf.evaluate.metrics import FURTHER, beats_constant, majority_score, metric

TEACHER, FT, KD, PTQ, DQF = "teacher", "student-ft", "student-kd", "student-ptq", "student-dqf"
FASTEST, SHARED = "fastest", "shared"
FP16 = "16"


def system(variant: str, bits: str = FP16) -> str:
    """Return the name of a variant at a bit-width: `teacher`, `student-dqf@4`."""
    return variant if bits == FP16 else f"{variant}@{bits}"


@dataclass(frozen=True)
class Evidence:
    """All measured figures of a study with their resamples.

    Attributes:
        bits: bit-widths that every task has, for Student-PTQ and Student-DQF, the widest first.
        seeds: by task, the seeds that all its variants have.
        scores: by task, of every `system`.
        log_ms: by session and task, log of the median ms, of every `system`.
        size_bytes: by task and `system`.
        metrics: by task.
        labels: by task, (n,).
        predictions: by task and `system`, (seeds, n).
        further: by task and metric, scores in what GLUE reports besides the task's own: another metric, or rows.
        runtimes: by task, how many runtimes served the students of one run, the most of its runs.
        machines: by task, the hardware and threads of its runs, each once; empty where not recorded.
    """

    bits: tuple[str, ...]
    seeds: Mapping[str, tuple[int, ...]]
    scores: Mapping[str, TaskResamples]
    log_ms: Mapping[str, Mapping[str, TaskResamples]]
    size_bytes: Mapping[str, Mapping[str, float]]
    metrics: Mapping[str, str]
    labels: Mapping[str, NDArray[Any]]
    predictions: Mapping[str, Mapping[str, NDArray[Any]]]
    further: Mapping[str, Mapping[str, TaskResamples]]
    runtimes: Mapping[str, int]
    machines: Mapping[str, tuple[str, ...]]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(self.scores)

    @property
    def timed_elsewhere(self) -> dict[str, str]:
        """Tasks that were not timed on the machine that timed most of them, with the machines that did.

        A task whose runs were timed on several machines is one of them, unless all tasks are. Of two machines with
        equally many tasks the one with the first task counts.
        """
        machines = {task: self.machines.get(task, ()) for task in self.tasks}
        whole = [found for found in machines.values() if len(found) <= 1]
        usual = Counter(whole or machines.values()).most_common(1)
        return {task: " and ".join(found) for task, found in machines.items() if found != usual[0][0]}

    @property
    def one_runtime(self) -> bool:
        """Whether one runtime served all students of every run that counts for figures of time over several tasks.

        Be it that nothing else was allowed.
        """
        elsewhere = self.timed_elsewhere
        return all(count == 1 for task, count in self.runtimes.items() if task not in elsewhere)

    @property
    def telling(self) -> tuple[str, ...]:
        """Tasks whose teacher does better than one answer to all: of another's there is nothing to keep."""
        teachers = {task: float(found.scores[TEACHER].mean()) for task, found in self.scores.items()}
        return tuple(
            task
            for task, score in teachers.items()
            if beats_constant(score, majority_score(self.metrics[task], self.labels[task]))
        )

    def macro(self, tasks: Iterable[str] | None = None, resample_seeds: bool = True) -> MacroResamples:
        """Return the scores averaged over seeds and tasks (all of them by default)."""
        return macro_average([self.scores[task] for task in tasks or self.tasks], resample_seeds)

    def macro_log_ms(self, session: str, tasks: Iterable[str] | None = None) -> MacroResamples:
        """Return the log latencies averaged over runs and tasks; their differences are log speed-ups.

        Nothing unless every task was timed in that session: an average over some tasks is not one over all. Times of
        different machines are not averaged: of several tasks those of `timed_elsewhere` are left out (decision 32).
        """
        found = self.log_ms.get(session, {})
        chosen = self.tasks if tasks is None else tuple(tasks)
        if len(chosen) > 1:
            elsewhere = self.timed_elsewhere
            chosen = tuple(task for task in chosen if task not in elsewhere)
        timed = [found[task] for task in chosen if task in found]
        return macro_average(timed if len(timed) == len(chosen) else [], resample_seeds=True)

    def seed_scores(self, name: str, tasks: Iterable[str] | None = None) -> NDArray[np.float64]:
        """Return a system's average over tasks (all of them by default) by seed, of the seeds that they all have."""
        chosen = {task: self.seeds[task] for task in (self.tasks if tasks is None else tasks)}
        common = sorted(set.intersection(*(set(seeds) for seeds in chosen.values()))) if chosen else []
        rows = []
        for task, seeds in chosen.items():
            scores = self.scores[task].scores[name]
            rows.append([scores[seeds.index(seed)] if len(scores) > 1 else scores[0] for seed in common])
        return np.mean(rows, axis=0) if rows and common else np.zeros(0)

    def compression(self, name: str, reference: str) -> dict[str, float]:
        """Return by task how many times smaller a system's file is than the reference's."""
        return {
            task: sizes[reference] / sizes[name]
            for task, sizes in self.size_bytes.items()
            if name in sizes and reference in sizes
        }


def evidence_of(
    variants: pd.DataFrame,
    predictions: pd.DataFrame,
    latency: pd.DataFrame,
    n_resamples: int = N_RESAMPLES,
    extra: Mapping[str, Mapping[str, pd.DataFrame]] = MappingProxyType({}),
) -> Evidence:
    """Resample all scores and latencies of a study once.

    Args:
        variants: one row per variant of a run.
        predictions: one row per prediction.
        latency: one row per timed pass; may be empty.
        n_resamples: how many.
        extra: by task, predictions on what is scored beside it, by name: MNLI mismatched.

    Raises:
        UserError: a task lacks its teacher, or variants were scored on different examples.
    """
    metrics = {str(task): str(part["metric"].iloc[0]) for task, part in variants.groupby("task")}
    scores: dict[str, TaskResamples] = {}
    seeds: dict[str, tuple[int, ...]] = {}
    labels: dict[str, NDArray[Any]] = {}
    predicted: dict[str, dict[str, NDArray[Any]]] = {}
    further: dict[str, dict[str, TaskResamples]] = {}
    for task, frame in predictions.groupby("task", sort=False, observed=True):
        name = str(task)
        labels[name], predicted[name], seeds[name] = _predictions_of(name, frame)
        scores[name], *others = (
            resample_task(metric(one), labels[name], predicted[name], n_resamples, _seed_of(name))
            for one in (metrics[name], *FURTHER.get(metrics[name], ()))
        )
        further[name] = dict(zip(FURTHER.get(metrics[name], ()), others, strict=True))
        for part, rows in extra.get(name, {}).items():
            own_labels, own, own_seeds = _predictions_of(part, rows)
            if own_seeds == seeds[name] and own.keys() == predicted[name].keys():
                found = resample_task(metric(metrics[name]), own_labels, own, n_resamples, _seed_of(part))
                further[name][f"{part} {metrics[name]}"] = found
    log_ms = {
        str(session): {
            str(task): _resample_times(part, seeds[str(task)], n_resamples, _seed_of(f"{session}{task}"))
            for task, part in frame.groupby("task", sort=False)
            if str(task) in seeds
        }
        for session, frame in latency.groupby("session", sort=False)
    }
    sizes = {
        str(task): {
            system(str(one), str(bits)): float(part["size_bytes"].mean())
            for (one, bits), part in frame.groupby(["variant", "bits"])
        }
        for task, frame in variants.groupby("task", sort=False)
    }
    students = variants[variants["variant"] != TEACHER]
    in_a_run = students.groupby(["task", "seed"])["runtime"].nunique()
    runtimes = {str(task): int(count) for task, count in in_a_run.groupby("task").max().items()}
    common, machines = _common_bits(scores), _machines(variants)
    return Evidence(common, seeds, scores, log_ms, sizes, metrics, labels, predicted, further, runtimes, machines)


def _machines(variants: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return by task what its runs were timed on, each in words."""
    if not {"hardware", "threads"} <= set(variants):
        return {}
    told = variants["hardware"].astype(str) + ", " + variants["threads"].astype(str) + " threads"
    return {str(task): tuple(sorted(set(part))) for task, part in told.groupby(variants["task"])}


def bits_number(bits: str) -> float:
    """Return the number in a bit-width's name: 3.5 of `mixed3.5`."""
    return float(bits.removeprefix("mixed"))


def _common_bits(scores: Mapping[str, TaskResamples]) -> tuple[str, ...]:
    """Return the bit-widths for which every task has both quantized students."""
    found = []
    for task in scores.values():
        pairs = {name.partition("@")[2] for name in task.scores if name.startswith(f"{DQF}@")}
        found.append({bits for bits in pairs if system(PTQ, bits) in task.scores})
    common = set.intersection(*found) if found else set()
    return tuple(sorted(common, key=lambda bits: (-bits_number(bits), bits)))


def _predictions_of(task: str, frame: pd.DataFrame) -> tuple[NDArray[Any], dict[str, NDArray[Any]], tuple[int, ...]]:
    """Return labels (n,), predictions (seeds, n) by system, and the seeds that every student has."""
    found: dict[str, dict[int, pd.DataFrame]] = {}
    for (variant, bits, seed), part in frame.groupby(["variant", "bits", "seed"], sort=False):
        found.setdefault(system(str(variant), str(bits)), {})[int(str(seed))] = part.sort_values("idx")
    if TEACHER not in found:
        raise UserError(f"every task needs its teacher's predictions: {task} has none; finish that task's runs.")
    students = [set(by_seed) for name, by_seed in found.items() if name != TEACHER]
    seeds = tuple(sorted(set.intersection(*students))) if students else ()
    reference = next(iter(found[TEACHER].values()))
    idx, labels = reference["idx"].to_numpy(), reference["label"].to_numpy()
    rows = {}
    for name, by_seed in found.items():
        chosen = [reference] if name == TEACHER else [by_seed[seed] for seed in seeds]
        for part in chosen:
            if not (np.array_equal(part["idx"], idx) and np.array_equal(part["label"], labels)):
                raise UserError(
                    f"all variants of a task must be scored on the same examples: {name} of {task} was not; "
                    "compare runs with the same `task` settings only."
                )
        if chosen:
            rows[name] = np.stack([part["prediction"].to_numpy() for part in chosen])
    return labels, rows, seeds


def _resample_times(frame: pd.DataFrame, seeds: tuple[int, ...], n_resamples: int, seed: int) -> TaskResamples:
    """Return log median ms, (seeds,) by system; within a run all systems share the drawn examples.

    Of an example that was timed several times, as there are too few, its own median counts.
    """
    rng = np.random.default_rng(seed)
    scores: dict[str, list[float]] = {}
    resampled: dict[str, list[NDArray[np.float64]]] = {}
    timed = frame[frame["seed"].isin(seeds)]
    n = 0
    for _, run in timed.groupby("seed"):
        by_row = run.groupby(["row", "variant", "bits"], observed=True)["ms"].median()
        times = by_row.unstack(["variant", "bits"]).dropna()
        n = max(n, len(times))
        if times.empty:
            continue
        drawn = rng.integers(0, len(times), size=(n_resamples, len(times)))
        for at, label in enumerate(times.columns):
            variant, bits = (str(part) for part in tuple(label))
            ms = np.maximum(times.iloc[:, at].to_numpy(np.float64), 1e-9)
            name = system(variant, bits)
            scores.setdefault(name, []).append(float(np.log(np.median(ms))))
            resampled.setdefault(name, []).append(np.log(np.median(ms[drawn], axis=1)))
    runs = max((len(values) for values in scores.values()), default=0)
    whole = [name for name, values in scores.items() if len(values) == runs]
    return TaskResamples(
        {name: np.asarray(scores[name]) for name in whole},
        {name: np.stack(resampled[name], axis=1) for name in whole},
        n,
    )


def _seed_of(name: str) -> int:
    """Return a seed of a task's own, so that tasks of equal size are not drawn alike."""
    return zlib.crc32(name.encode())
