"""From finished runs to a study's tables: what was measured, without weights and without texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dqf.data.catalog import PUBLISHED_MODEL, PUBLISHED_SOURCE, glue_task, short_name
from dqf.errors import UserError
from dqf.evaluate.evidence import DQF, FASTEST, FP16, FT, KD, PTQ, SHARED, TEACHER
from dqf.jobs import protocol
from dqf.study.recipe import used_settings
from dqf.sweeps.directory import Sweep
from dqf.sweeps.plan import label_of

TASK, SEED = "task.source", "seed"
SCHEMA_VERSION = 1
_COPIED = (
    "variant_id",
    "model",
    "quantizer",
    "runtime",
    "params",
    "size_bytes",
    "tokenizer_bytes",
    "load_ms",
    "peak_rss_bytes",
    "verified",
    "weights_sha256",
)
_COPIED_IF_THERE = (
    "throughput_per_s",
    "throughput_batch",
    "energy_j_per_1000",
    "energy_source",
    "energy_watts_per_core",
    "scale_bits",
)
"""Not measured by earlier versions."""


@dataclass(frozen=True)
class Tables:
    """A study's measured data, as docs/result-schema.md describes it.

    Attributes:
        study: content of `study.json`.
        variants, latency: the tables of these names.
        predictions: by task, and by what is scored beside one (`mnli-mismatched`).
    """

    study: dict[str, Any]
    variants: pd.DataFrame
    latency: pd.DataFrame
    predictions: dict[str, pd.DataFrame]


@dataclass(frozen=True)
class FinishedRun:
    """One run with its place in the study."""

    run_dir: Path
    condition: str
    seed: int
    result: Mapping[str, Any]

    @property
    def task(self) -> str:
        """Short name of its task."""
        return str(self.result["task"]["name"])

    @property
    def key(self) -> dict[str, Any]:
        """The columns that all tables share."""
        return {"condition": self.condition, "task": self.task, "seed": self.seed}


def condition_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was varied besides task and seed."""
    return {path: value for path, value in settings.items() if path not in (TASK, SEED)}


def collect(sweep: Sweep, name: str, title: str, description: str) -> Tables:
    """Return the tables of all runs of a sweep that have succeeded.

    Raises:
        UserError: there is none.
    """
    finished, unfinished = [], []
    conditions: dict[str, dict[str, Any]] = {}
    for entry in sweep.entries:
        varied = condition_of(entry.run.settings)
        condition = label_of(varied)
        conditions.setdefault(condition, varied)
        state = sweep.state(entry)
        result = protocol.read_json(sweep.run_dir(entry) / "result.json") if state == protocol.SUCCEEDED else None
        if isinstance(result, Mapping):
            finished.append(FinishedRun(sweep.run_dir(entry), condition, entry.run.config.seed, result))
        else:
            task = short_name(entry.run.config.task.source)
            unfinished.append({"task": task, "settings": dict(entry.run.settings), "state": state})
    if not finished:
        raise UserError(
            f"a study needs finished runs: none of the {len(sweep.entries)} of {name} has a result yet; make them with "
            "the same command without `--analyse`, or in the app."
        )
    study = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "title": title,
        "description": description,
        "plan": sweep.plan.to_dict(),
        "settings": used_settings(run.result["config"] for run in finished),
        "conditions": [{"condition": label, "settings": varied} for label, varied in conditions.items()],
        "runs": [{"run_id": run.run_dir.name, **run.key} for run in finished],
        "unfinished": unfinished,
        "tasks": _tasks(finished),
        "baseline": dict(finished[0].result["baseline"]),
        "environments": _distinct(run.result["environment"] for run in finished),
    }
    variants = pd.DataFrame([row for run in finished for row in _variant_rows(run)])
    latency = pd.concat([part for run in finished for part in _latency(run)], ignore_index=True)
    return Tables(study, variants, latency, _predictions(finished))


def bits_of(variant: Mapping[str, Any]) -> str:
    """Return the bit-width's name of a variant of a result: `16`, `4`, `mixed3.5`."""
    if variant.get("quantizer") is None:
        return FP16
    return str(variant["variant_id"]).rsplit("-", 1)[-1].removesuffix("bit")


def _tasks(runs: Iterable[FinishedRun]) -> dict[str, dict[str, Any]]:
    """Return what a reader must know of each task."""
    tasks: dict[str, dict[str, Any]] = {}
    for run in runs:
        task = run.result["task"]
        if run.task in tasks:
            continue
        source = str(run.result["config"]["task"]["source"])
        known = glue_task(source.removeprefix("glue:")) if source.startswith("glue:") else None
        held_out = run.result["config"]["task"].get("split") == "tuning"
        tasks[run.task] = {
            "source": source if known or source.startswith("starter:") else "own file",
            **{name: task[name] for name in ("kind", "labels", "metric", "train_n", "eval_n", "data_sha256", "note")},
            "published": (published := task.get("published", known.published if known and not held_out else None)),
            "published_model": PUBLISHED_MODEL if published is not None else None,
            "published_source": PUBLISHED_SOURCE if published is not None else None,
            "extra": list(_extra(run.result["variants"][0])),
        }
    return tasks


def _extra(variant: Mapping[str, Any]) -> dict[str, str]:
    """Return the predictions' files of what is scored beside the task, by name: MNLI mismatched."""
    scores: Mapping[str, Any] = variant.get("tasks") or {}
    return {name: str(one["predictions"]) for name, one in scores.items() if one.get("extra")}


def _variant_rows(run: FinishedRun) -> list[dict[str, Any]]:
    environment, metric = run.result["environment"], run.result["task"]["metric"]
    rows = []
    for variant in run.result["variants"]:
        shared = variant.get("shared")
        rows.append(
            {
                **run.key,
                "variant": variant["variant"],
                "bits": bits_of(variant),
                "run_id": run.run_dir.name,
                "metric": metric,
                **{name: variant[name] for name in _COPIED},
                **{name: variant.get(name) for name in _COPIED_IF_THERE},
                "fixed_lengths": _fixed_lengths(variant),
                "shared_runtime": shared["runtime"] if shared else None,
                "relative_l2_error": variant["verification"]["relative_l2_error"],
                "argmax_agreement": variant["verification"]["argmax_agreement"],
                **_training(run.result, variant["variant"]),
                "hardware": environment.get("gpu", environment["cpu"]),
                "threads": environment["threads"],
            }
        )
    return rows


def _fixed_lengths(variant: Mapping[str, Any]) -> int | None:
    """Return how many text lengths had graphs of their own; None where it was measured before there were any."""
    found = variant.get("fixed_lengths")
    return None if found is None else len(found["lengths"])


def _training(result: Mapping[str, Any], variant: str) -> dict[str, float | None]:
    """Return what training took, of the student a quantized variant was made from; None where not known."""
    stage = {PTQ: FT, DQF: KD}.get(variant, variant)
    metrics: Mapping[str, Any] = next((one["metrics"] for one in result["stages"] if one["id"] == stage), {})
    return {
        "train_seconds": metrics.get("train_seconds"),
        "trained_params": metrics.get("trained_params"),
        "train_peak_memory_bytes": metrics.get("peak_memory_bytes"),
    }


def _latency(run: FinishedRun) -> list[pd.DataFrame]:
    """Return one long frame per session that was timed."""
    by_id = {variant["variant_id"]: variant for variant in run.result["variants"]}
    parts = []
    for session, file in ((FASTEST, "latency.parquet"), (SHARED, "latency_shared.parquet")):
        if not (run.run_dir / file).is_file():
            continue
        times = pd.read_parquet(run.run_dir / file)
        for variant_id in (name for name in times.columns if name in by_id):
            variant = by_id[variant_id]
            key = {**run.key, "variant": variant["variant"], "bits": bits_of(variant), "session": session}
            ms = times[variant_id].to_numpy(np.float32)
            parts.append(pd.DataFrame({**key, "row": times["row"].to_numpy(np.int32), "ms": ms}))
    return parts


def _predictions(runs: Iterable[FinishedRun]) -> dict[str, pd.DataFrame]:
    """Return predictions by task, and by what is scored beside one; of the teacher once per condition, being the same.

    Raises:
        UserError: the runs of a condition had different teachers.
    """
    parts: dict[str, list[pd.DataFrame]] = {}
    teachers: dict[tuple[str, str], np.ndarray[Any, Any]] = {}
    for run in runs:
        for variant in run.result["variants"]:
            for name, file in {run.task: variant["predictions"], **_extra(variant)}.items():
                frame = pd.read_parquet(run.run_dir / file)
                if variant["variant"] == TEACHER:
                    place = (run.condition, name)
                    if place in teachers:
                        _require_same(name, teachers[place], frame["prediction"])
                        continue
                    teachers[place] = frame["prediction"].to_numpy()
                key = {**run.key, "task": name, "variant": variant["variant"], "bits": bits_of(variant)}
                parts.setdefault(name, []).append(_compact(frame).assign(**key))
    columns = ["condition", "task", "seed", "variant", "bits", "idx", "label", "prediction", "logits"]
    return {task: pd.concat(frames, ignore_index=True)[columns] for task, frames in parts.items()}


def _require_same(task: str, first: Any, other: Any) -> None:
    if not np.array_equal(first, other):
        raise UserError(
            f"all seeds of a study share their teacher: those of {task} predict differently; "
            "leave `teacher.seed` alone, or sweep it as a condition of its own."
        )


def prediction_names(facts: Mapping[str, Mapping[str, Any]], tasks: Iterable[str]) -> list[str]:
    """Return the names that the predictions of tasks have: their own, and those of what is scored beside them.

    Args:
        facts: `tasks` of `study.json`; of earlier versions, nothing was kept of what is scored beside.
        tasks: names.
    """
    return [name for task in tasks for name in (task, *facts[task].get("extra", ()))]


def _compact(frame: pd.DataFrame) -> pd.DataFrame:
    """Return predictions in as few bytes as keep them: logits in half precision where they only illustrate."""
    classes = pd.api.types.is_integer_dtype(frame["prediction"])
    logits = np.stack(frame["logits"].to_list())
    return pd.DataFrame(
        {
            "idx": frame["idx"].to_numpy(np.int32),
            "label": _narrow(frame["label"].to_numpy()),
            "prediction": _narrow(frame["prediction"].to_numpy()),
            "logits": list(logits.astype(np.float16 if classes else np.float32)),
        }
    )


def _narrow(values: Any) -> Any:
    """Return numbers in the narrowest type of their kind that keeps them exactly."""
    kinds = (np.int8, np.int16, np.int32) if np.issubdtype(values.dtype, np.integer) else (np.float32,)
    for kind in kinds:
        narrowed = values.astype(kind)
        if np.array_equal(narrowed, values):
            return narrowed
    return values


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
