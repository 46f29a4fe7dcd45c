"""From a study's tables to its summary: a pure function, so anybody can compute it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from dqf.evaluate.decomposition import decompose
from dqf.evaluate.evidence import DQF, FASTEST, FP16, TEACHER, Evidence, bits_number, evidence_of, system
from dqf.evaluate.hypotheses import judge
from dqf.evaluate.macro import N_RESAMPLES
from dqf.evaluate.metrics import majority_score
from dqf.evaluate.sanity import Flag, check_students, check_teacher, check_timings
from dqf.evaluate.verdicts import ALL_BITS, Verdict
from dqf.study.collect import Tables, prediction_names
from dqf.study.figures import Averages, macro_figures, what_distillation_pays

SCHEMA_VERSION = 1
HEADLINE_BITS = "4"


def analyse(
    tables: Tables, n_resamples: int = N_RESAMPLES, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Return the summary that docs/result-schema.md describes.

    Args:
        tables: of the study.
        n_resamples: of every bootstrap.
        progress: told what is being computed.

    Raises:
        UserError: the runs cannot be compared.
    """
    study = tables.study
    found = set(tables.variants["condition"])
    conditions = [one for one in study["conditions"] if one["condition"] in found]
    analysed = []
    for one in conditions:
        progress(f"analysing {one['condition'] or 'all runs'}")
        analysed.append(_analyse_condition(tables, one["condition"], n_resamples))
    several = (
        [{**part, "settings": one["settings"]} for one, part in zip(conditions, analysed, strict=True)]
        if len(conditions) > 1
        else []
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "study": {name: study[name] for name in ("name", "title", "description")},
        "n_resamples": n_resamples,
        **analysed[0],
        "conditions": several,
    }


def _analyse_condition(tables: Tables, condition: str, n_resamples: int) -> dict[str, Any]:
    variants, latency = (frame[frame["condition"] == condition] for frame in (tables.variants, tables.latency))
    facts = tables.study["tasks"]
    parts = {
        name: frame[frame["condition"] == condition].drop(columns="logits").assign(task=name)
        for name, frame in tables.predictions.items()
    }
    extra = {
        task: {name: parts[name] for name in prediction_names(facts, [task])[1:] if len(parts[name])} for task in facts
    }
    evidence = evidence_of(variants, _concat([parts[task] for task in facts]), latency, n_resamples, extra)
    cache: dict[Any, Averages] = {}

    def figures(*names: str) -> dict[str, Any]:
        rows = variants[[one in names for one in map(system, variants["variant"], variants["bits"])]]
        return macro_figures(evidence, names, rows, facts, cache)

    verdicts = judge(evidence)
    systems = _systems(evidence, variants)
    by_system = {name: {"system": name, "variant": one, "bits": bits, **figures(name)} for name, one, bits in systems}
    macro = evidence.macro()
    bits = {
        width: {
            **by_system[system(DQF, width)],
            "verdicts": _verdicts_at(verdicts, width),
            "decomposition": {name: asdict(part) for name, part in decompose(macro, width).items()},
        }
        for width in evidence.bits
    }
    total = None
    if evidence.bits:
        total = {**figures(*(system(DQF, width) for width in evidence.bits)), "bits": list(evidence.bits)}
        total["verdicts"] = _verdicts_at(verdicts, ALL_BITS)
    return {
        "condition": condition,
        "tasks": list(evidence.tasks),
        "seeds": sorted({seed for seeds in evidence.seeds.values() for seed in seeds}),
        "n": sum(one.n for one in evidence.scores.values()),
        "baseline": _baseline(tables.study, evidence, variants),
        "headline_bits": _headline(evidence),
        "bits": bits,
        "total": total,
        "variants": list(by_system.values()),
        "verdicts": {name: [asdict(one) for one in group] for name, group in verdicts.items()},
        "distillation_pays": what_distillation_pays(evidence),
        "sanity": [asdict(flag) for flag in _sanity(evidence, facts, _timed(latency))],
        "notes": _notes(tables.study, evidence, variants),
    }


def _concat(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Put tasks below each other; numbers of any kind become floats, which hold all of them exactly."""
    whole = [part.astype({"label": "float64", "prediction": "float64"}) for part in parts if not part.empty]
    return pd.concat(whole, ignore_index=True)


def _systems(evidence: Evidence, variants: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return (system, variant, bits) of what every task has, in the order of the results."""
    common = set.intersection(*(set(task.scores) for task in evidence.scores.values()))
    pairs = variants[["variant", "bits"]].drop_duplicates().itertuples(index=False)
    rows = [(system(str(one), str(bits)), str(one), str(bits)) for one, bits in pairs]
    order = [row for row in rows if row[0] in common]
    return sorted(order, key=lambda row: (row[2] != FP16, -bits_number(row[2])))


def _verdicts_at(verdicts: Mapping[str, list[Verdict]], bits: str) -> dict[str, dict[str, Any]]:
    return {name: asdict(one) for name, group in verdicts.items() for one in group if one.bits == bits}


def _headline(evidence: Evidence) -> str | None:
    """Return the bit-width to quote: 4, or the nearest to it."""
    if not evidence.bits:
        return None
    return min(evidence.bits, key=lambda bits: (abs(bits_number(bits) - float(HEADLINE_BITS)), bits != HEADLINE_BITS))


def _baseline(study: Mapping[str, Any], evidence: Evidence, variants: pd.DataFrame) -> dict[str, Any]:
    teacher = variants[(variants["variant"] == TEACHER) & ~variants["task"].isin(list(evidence.timed_elsewhere))]
    return {
        "model": teacher["model"].iloc[0],
        "precision": study["baseline"]["precision"],
        "runtimes": sorted(set(teacher["runtime"])),
        "hardware": sorted(set(teacher["hardware"])),
        "threads": sorted({int(one) for one in teacher["threads"]}),
        "timed_elsewhere": evidence.timed_elsewhere,
    }


def _timed(latency: pd.DataFrame) -> dict[str, int]:
    """Return by task on how many different examples a run's latencies stand, of the run with the fewest."""
    counts = latency[latency["session"] == FASTEST].groupby(["task", "seed"], observed=True)["row"].nunique()
    return {str(task): int(few) for task, few in counts.groupby("task").min().items()}


def _sanity(evidence: Evidence, facts: Mapping[str, Mapping[str, Any]], timed: Mapping[str, int]) -> list[Flag]:
    """Return what is suspicious; `timed` counts the different examples that were timed by task."""
    flags = []
    for task in evidence.tasks:
        known = facts.get(task, {})
        score = float(evidence.scores[task].scores[TEACHER].mean())
        majority = majority_score(evidence.metrics[task], evidence.labels[task])
        flags += check_teacher(task, score, majority, known.get("published"), str(known.get("note") or ""))
        if known.get("fault"):  # written into `study.json` by hand when it was found; stays until the task is run again
            flags.append(Flag("known-fault", task, TEACHER, score, score, str(known["fault"])))
        if task in timed:  # of repeated texts earlier versions kept a number for each pass
            flags += check_timings(task, min(timed[task], evidence.scores[task].n))
    return flags + check_students(evidence)


def _scale_bits(variants: pd.DataFrame) -> dict[str, list[str]]:
    """Return the tasks by what is recorded of their quantized variants' scales; nothing where nothing is recorded."""
    if "scale_bits" not in variants:
        return {}
    found: dict[str, list[str]] = {}
    for task, rows in variants[variants["bits"] != FP16].groupby("task", sort=False):
        known = sorted({int(one) for one in rows["scale_bits"].dropna()})
        what = " and ".join(f"{one} bits" for one in known) or "not recorded (FP16 before they could have fewer)"
        found.setdefault(what, []).append(str(task))
    return found


def _fixed_lengths(variants: pd.DataFrame) -> str:
    """Return what to say of graphs of fixed length; empty where no variant had any."""
    if "fixed_lengths" not in variants or not variants["fixed_lengths"].fillna(0).any():
        return ""
    most = variants.groupby(variants["variant"] == TEACHER)["fixed_lengths"].max().fillna(0)
    told = [
        f"{f'up to {int(count)}' if count else 'none'} of {'the teacher' if teacher else 'a student'}"
        for teacher, count in most.items()
    ]
    earlier = sorted(set(variants.loc[variants["fixed_lengths"].isna(), "task"]))
    return (
        "Single texts of the commonest lengths had graphs of their own, as many as the memory allowed for them held: "
        f"{' and '.join(told)}; the shared runtime had none."
        + (f" Runs from before there were any: {', '.join(earlier)}." if earlier else "")
    )


def _notes(study: Mapping[str, Any], evidence: Evidence, variants: pd.DataFrame) -> list[str]:
    """Return what a reader must know before quoting a figure."""
    notes = [f"{task}: {facts['note']}" for task, facts in study["tasks"].items() if facts["note"]]
    unfinished = study["unfinished"]
    if unfinished:
        notes.append(f"{len(unfinished)} runs have no result and are not in the figures.")
    kept = study.get("kept", {})
    if kept:
        notes.append(f"Kept from an earlier making of this study, with its plan of then: {', '.join(kept)}.")
    seeds = {task: len(seeds) for task, seeds in evidence.seeds.items()}
    if len(set(seeds.values())) > 1:
        told = ", ".join(f"{task} {count}" for task, count in seeds.items())
        notes.append(f"Tasks differ in how many seeds all their variants have: {told}.")
    single = [task for task, count in seeds.items() if count == 1]
    if single:
        notes.append(
            f"One seed on {', '.join(single)}: chance in training is not in what they add to the intervals, which are "
            "too narrow by that."
        )
    notes.append("Each task has one teacher: chance in its training is in no interval.")
    scale_bits = _scale_bits(variants)
    if len(scale_bits) > 1:
        told = "; ".join(f"{what} on {', '.join(tasks)}" for what, tasks in scale_bits.items())
        notes.append(f"Groups of quantized weights have scales of different kinds: {told}.")
    fixed_lengths = _fixed_lengths(variants)
    if fixed_lengths:
        notes.append(fixed_lengths)
    unverified = variants[~variants["verified"].astype(bool)]
    if len(unverified):
        named = ", ".join(sorted({f"{row.variant_id} ({row.task})" for row in unverified.itertuples()}))
        notes.append(f"The reloaded artifact did not give the logits of the model in memory: {named}.")
    elsewhere = evidence.timed_elsewhere
    if elsewhere:
        told = "; ".join(f"{task} ({machine})" for task, machine in elsewhere.items())
        notes.append(
            "Times of different machines are not averaged: speed-ups, latencies and H2 over several tasks are without "
            f"{told}. Their own stand in the tasks' rows."
        )
    mixed = [task for task in evidence.tasks if len(evidence.machines.get(task, ())) > 1]
    if mixed:
        notes.append(
            f"Runs of these tasks were timed on several machines, their times are means over them: {', '.join(mixed)}."
        )
    if len(study["environments"]) > 1:
        notes.append(f"The runs were made in {len(study['environments'])} different environments.")
    return notes
