"""What a report says: rows, intervals, how and on what they were measured, and how to make them again. Pure pandas.

Every text in it may come from outside (names, configs); those who render it escape it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

import dqf
from dqf.exporting.card import public
from dqf.redact import redact_data
from dqf.ui import format as fmt
from dqf.ui.frontier import budgets
from dqf.ui.frontier.budgets import Budget
from dqf.ui.scenario import advice as scenarios
from dqf.ui.variant_table import energy_note

METHOD = (
    "Size: bytes of the weight file that ships. Latency: one example, batch 1, token ids in, logits out, after "
    "warm-up, all variants of a run in turns. Faster and smaller are relative to the teacher of the same run in its "
    "fastest faithful runtime and its FP16 file. Score: the task's metric on held-out rows, with a 95 % interval; "
    "retention: score over the teacher's, interval by paired bootstrap. Every verified figure comes from the "
    "artifact as it ships, loaded again in a fresh process."
)


LEFT_OUT = ("run_dir", "kind", "label", "method")
"""Columns that say nothing to others, or hold paths of this machine."""


@dataclass(frozen=True)
class RunFacts:
    """One run behind a report.

    Attributes:
        run_id: which one.
        facts: what it was measured on and with, as people read it.
        config: its config as JSON.
        command: makes it again from that config.
        raw: the same facts for machines.
    """

    run_id: str
    facts: tuple[tuple[str, str], ...]
    config: str
    command: str
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """All that a report holds.

    Attributes:
        title: of the document.
        created: when it was made, UTC.
        version: of this program.
        lead: sentences that answer first.
        variants: the rows, with the columns of `dqf.ui.frames.derive`.
        table: the rows as people read them.
        differences: paired tests against the teacher as people read them, empty without predictions.
        advice: a row per scenario.
        notes: what must not be read into it.
        runs: the runs behind it.
    """

    title: str
    created: datetime
    version: str
    lead: tuple[str, ...]
    variants: pd.DataFrame
    table: pd.DataFrame
    differences: pd.DataFrame
    advice: pd.DataFrame
    notes: tuple[str, ...]
    runs: tuple[RunFacts, ...]

    @property
    def file_stem(self) -> str:
        """Beginning of file names."""
        first = self.runs[0].run_id if self.runs else "empty"
        return f"dqf-report-{first}" + (f"-and-{len(self.runs) - 1}-more" if len(self.runs) > 1 else "")


def build(
    rows: pd.DataFrame,
    results: Mapping[str, Mapping[str, Any]],
    differences: pd.DataFrame,
    loss: float = 0.02,
    now: datetime | None = None,
) -> Report:
    """Put a report together.

    Args:
        rows: the variants (`dqf.ui.frames.derive`), of one run or several.
        results: content of `result.json` by run.
        differences: paired tests (`dqf.ui.compare.comparisons.compare_pairs`), empty if there are none.
        loss: allowed below the teacher, as a share.
        now: time of making, for tests.
    """
    rows = rows.assign(**{name: rows[name].map(redact_data) for name in ("teacher", "student", "model")})
    results = {run_id: redact_data(dict(result)) for run_id, result in results.items()}
    ids = list(dict.fromkeys(rows["run_id"]))
    names = dict(zip(rows["key"], rows["name" if len(ids) == 1 else "label"], strict=True))
    tasks = list(dict.fromkeys(rows["task"]))
    shown = f"{len(rows)} variants of run {ids[0]}" if len(ids) == 1 else f"{len(rows)} variants of {len(ids)} runs"
    return Report(
        title=f"{shown}, {', '.join(map(str, tasks))}",
        created=now or datetime.now(UTC),
        version=dqf.__version__,
        lead=_lead(rows, Budget(loss=loss)),
        variants=rows.reset_index(drop=True),
        table=_table(rows, names),
        differences=_differences(differences, names),
        advice=_advice(rows, loss) if len(tasks) == 1 and _one_machine(rows) else pd.DataFrame(),
        notes=(*_notes(rows, ids, tasks), *_suspicious(ids, results)),
        runs=tuple(_facts(run_id, results.get(run_id, {})) for run_id in ids),
    )


def machine_rows(report: Report) -> pd.DataFrame:
    """Return the rows for CSV and parquet: every figure in base units, and what it was measured on beside it."""
    frame = report.variants.drop(columns=[*LEFT_OUT], errors="ignore").copy()
    for name in ("teacher", "student", "model"):
        frame[name] = frame[name].map(public)
    raw = {one.run_id: one.raw for one in report.runs}
    for name in next(iter(raw.values()), {}):
        frame[name] = [raw[run_id].get(name) for run_id in frame["run_id"]]
    frame["command"] = [next(one.command for one in report.runs if one.run_id == run) for run in frame["run_id"]]
    frame["report_created"] = report.created.isoformat(timespec="seconds")
    return frame


def _lead(rows: pd.DataFrame, budget: Budget) -> tuple[str, ...]:
    found = []
    for word, cost in (("Smallest", "size_bytes"), ("Fastest", "latency_ms_p50")):
        choice = budgets.choose(rows, budget, cost)
        heading = " ".join(filter(None, (word, budget.words())))
        found.append(f"{heading}: {budgets.sentence(choice, budget)}")
    return tuple(found)


def _table(rows: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    lines = []
    for at, row in enumerate(rows.to_dict("records"), 1):
        line = {
            "#": str(at),
            "Variant": names[row["key"]],
            "Size": fmt.size(row["size_bytes"]),
            "Smaller": fmt.times(row["compression_ratio"]),
            "p50 / p90": f"{fmt.significant(row['latency_ms_p50'])} / {fmt.milliseconds(row['latency_ms_p90'])}",
            "Faster": _with(fmt.times(row["speedup"]), row["speedup_ci95_low"], row["speedup_ci95_high"], 1),
            "Score": _with(fmt.percent(row["score"]), row["score_ci95_low"], row["score_ci95_high"], 100),
            "n": fmt.count(row["n"]),
            "Retention": _with(
                fmt.percent(row["retention"]), row["retention_ci95_low"], row["retention_ci95_high"], 100
            ),
            "Memory": fmt.size(row["peak_rss_bytes"]),
            "Runtime": str(row["runtime"] or fmt.UNKNOWN),
            "Verified": "yes" if row["verified"] else "no",
        }
        if rows["throughput_per_s"].notna().any():
            line["Batch 8"] = f"{fmt.significant(row['throughput_per_s'])}/s"
        lines.append(line)
    return pd.DataFrame(lines)


def _differences(tests: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    words = {"": "no difference shown", "first": "worse", "second": "better"}
    return pd.DataFrame(
        [
            {
                "Variant": names[row["second"]],
                "Against": names[row["first"]],
                "Difference": f"{fmt.points(row['difference'])} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]",
                "p (Holm)": fmt.p_value(row["p_holm"]),
                "Verdict": words[row["verdict"]],
                "Lost": fmt.count(row["only_first"]),
                "Won": fmt.count(row["only_second"]),
                "n": fmt.count(row["n"]),
                "Test": row["test"],
            }
            for row in tests.to_dict("records")
        ]
    )


def _with(text: str, low: Any, high: Any, scale: float) -> str:
    if not (fmt.known(low) and fmt.known(high)) or low == high:
        return text
    return f"{text} [{fmt.significant(scale * low)}, {fmt.significant(scale * high)}]"


def _one_machine(rows: pd.DataFrame) -> bool:
    return len(rows[["hardware", "threads"]].drop_duplicates()) == 1


def _advice(rows: pd.DataFrame, loss: float) -> pd.DataFrame:
    lines = []
    for one in scenarios.scenarios(scenarios.has_throughput(rows)):
        found = scenarios.advise(rows, one, loss)
        best = f"{found.best['name']}: {one.text(found.best)}" if found.best else fmt.UNKNOWN
        lines.append(
            {
                "Scenario": f"{one.title} ({one.counts})",
                "Best row": best,
                "Textbook": one.advice,
                "Your rows say": f"{found.verdict}. {found.sentence}",
            }
        )
    return pd.DataFrame(lines)


def _notes(rows: pd.DataFrame, ids: list[str], tasks: list[str]) -> tuple[str, ...]:
    notes = [METHOD]
    if len(ids) > 1:
        notes.append(
            "The variants come from different runs: they were not timed in turns with each other, and each ratio "
            "refers to its own run's teacher."
        )
    if not _one_machine(rows):
        notes.append("Latencies come from different machines or thread counts and cannot be compared directly.")
    if len(tasks) > 1:
        notes.append("Scores of different tasks cannot be compared; retention can.")
    if not rows["verified"].all():
        notes.append("Rows that are not verified are shown, but never recommended.")
    energy = energy_note(rows)
    return (*notes, energy) if energy else tuple(notes)


def _suspicious(ids: list[str], results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what the sanity gate said of the runs."""
    return [
        f"To be looked at before quoting{f' {run_id}' if len(ids) > 1 else ''}: {flag.get('sentence')}"
        for run_id in ids
        for flag in results.get(run_id, {}).get("sanity") or ()
        if isinstance(flag, Mapping)
    ]


def _facts(run_id: str, result: Mapping[str, Any]) -> RunFacts:
    environment, task = _part(result, "environment"), _part(result, "task")
    config, baseline = public(_part(result, "config")), public(_part(result, "baseline"))
    seeds = {
        "students": config.get("seed"),
        "teacher": _part(config, "teacher").get("seed"),
        "data": _part(config, "task").get("seed"),
        "calibration": _part(config, "quantization").get("calibration_seed"),
    }
    packages = ", ".join(f"{name} {version}" for name, version in _part(environment, "packages").items())
    quantization = _part(config, "quantization")
    facts = {
        "Measured": str(result.get("created", "")),
        "Hardware": f"{environment.get('cpu')}, {environment.get('cores')} cores, "
        f"{fmt.size(environment.get('memory_bytes'))} memory, {environment.get('threads')} threads, "
        f"{environment.get('device')}",
        "System": f"{environment.get('platform')}, Python {environment.get('python')}",
        "Versions": f"DQF Studio {environment.get('dqf_version')}, {packages}",
        "Commit": str(environment.get("git_commit") or fmt.UNKNOWN),
        "Data": f"{task.get('name')} ({_part(config, 'task').get('source')}), {fmt.count(task.get('train_n'))} rows "
        f"trained on, {fmt.count(task.get('eval_n'))} evaluated, metric {task.get('metric')}, "
        f"SHA-256 {task.get('data_sha256')}" + (f"; {task['note']}" if task.get("note") else ""),
        "Seeds": ", ".join(f"{name} {value}" for name, value in seeds.items() if value is not None),
        "Models": f"teacher {_part(config, 'teacher').get('model')}, student {_part(config, 'student').get('model')}",
        "Quantizer": f"{quantization.get('quantizer')}, groups of {quantization.get('group_size')}, calibrated on "
        f"{quantization.get('calibration_samples')} samples ({quantization.get('calibration')})",
        "Baseline": f"{baseline.get('model')}, {baseline.get('precision')}, {baseline.get('runtime')}",
        "Weights": "; ".join(
            f"{row.get('variant_id')} SHA-256 {str(row.get('weights_sha256'))[:16]}"
            for row in result.get("variants", ())
        ),
    }
    raw = {
        "cpu_cores": environment.get("cores"),
        "memory_bytes": environment.get("memory_bytes"),
        "platform": environment.get("platform"),
        "python": environment.get("python"),
        "packages": packages,
        "dqf_version": environment.get("dqf_version"),
        "git_commit": environment.get("git_commit"),
        "data_sha256": task.get("data_sha256"),
        "seeds": json.dumps(seeds),
        "config_json": json.dumps(config),
    }
    return RunFacts(run_id, tuple(facts.items()), json.dumps(config, indent=1), command_for(run_id), raw)


def command_for(run_id: str) -> str:
    """Return the command that makes a run again from the config that a report holds."""
    return f"python -m dqf run --config {run_id}-config.json"


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}
