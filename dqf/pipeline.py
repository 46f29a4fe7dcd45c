"""A run, read top to bottom: teacher, its outputs, two students, quantization, export, measuring, record."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dqf import registry
from dqf.config import RunConfig
from dqf.data.load import load_task
from dqf.errors import UserError
from dqf.estimate import estimate
from dqf.estimate_history import write_estimate
from dqf.jobs import protocol
from dqf.memory import keep_freed_memory, modules_set_aside
from dqf.models.catalog import TEACHER_LAYERS
from dqf.models.device import choose_device
from dqf.models.layer_pairs import needs_features
from dqf.preflight import require
from dqf.progress import Reporter
from dqf.settings import Settings
from dqf.stages._cache import Output, StageCache
from dqf.stages._choice import Row, choose, pooled_latencies, with_pooled
from dqf.stages._context import Context
from dqf.stages._fixed_lengths import keep_where_faster, read_fixed_lengths
from dqf.stages.benchmark import Timed, time_in_one_runtime, time_variants
from dqf.stages.evaluate import evaluate_artifact
from dqf.stages.export import ARTIFACT, export_artifact
from dqf.stages.quantize import Form, quantize_student
from dqf.stages.record import Measured, record_result
from dqf.stages.student import train_student
from dqf.stages.teacher import make_teachers
from dqf.stages.teacher_features import compute_teacher_features
from dqf.stages.teacher_outputs import average_teacher_outputs
from dqf.stages.verify import far_slower, read_verification, verify_artifact


@dataclass(frozen=True)
class Planned:
    """A variant to be made: which student it comes from, and its bits; `form` is None where it stays FP16."""

    variant_id: str
    variant: str
    source: str
    form: Form | None = None

    @property
    def group(self) -> str:
        """Files of one group are one network in like forms: their runtimes are judged together."""
        return "teacher" if self.variant == "teacher" else "quantized student" if self.form else "student"

    @property
    def shape(self) -> tuple[str, str]:
        """What variants share that differ in their weights alone."""
        return self.group, self.form.label if self.form else ""


def planned_variants(config: RunConfig) -> tuple[Planned, ...]:
    """Return the variants a config makes, the teacher first."""
    method = config.quantization.quantizer
    variants = [
        Planned("teacher", "teacher", "teacher"),
        Planned("student-ft", "student-ft", "student-ft"),
        Planned("student-kd", "student-kd", "student-kd"),
    ]
    average, budget_mb = config.quantization.average_bits, config.quantization.size_budget_mb
    forms = [Form(bits) for bits in config.quantization.bits]
    forms += [Form(average, mixed=True)] if average else []
    forms += [Form(0, mixed=True, budget_bytes=round(1e6 * budget_mb))] if budget_mb else []
    for form in forms:
        for variant, source in (("student-ptq", "student-ft"), ("student-dqf", "student-kd")):
            variants.append(Planned(f"{variant}-{method}-{form.label}", variant, source, form))
    return tuple(variants)


def firsts_and_others(variants: Sequence[Planned]) -> tuple[list[Planned], list[Planned]]:
    """Return the first variant of each shape, for which every runtime is tried, and the others."""
    firsts = {one.shape: one for one in reversed(variants)}.values()
    return [one for one in variants if one in firsts], [one for one in variants if one not in firsts]


def planned_stages(config: RunConfig) -> list[dict[str, str]]:
    """Return id and title of every stage, in order."""
    variants = planned_variants(config)
    names = {
        "teacher": "Teacher",
        "student-ft": "Student-FT",
        "student-kd": "Student-KD",
        "student-ptq": "Student-PTQ",
        "student-dqf": "Student-DQF",
    }

    def title(one: Planned) -> str:
        return f"{names[one.variant]} {one.form.title}" if one.form else names[one.variant]

    further = range(2, config.distillation.teachers + 1)
    stages = [
        ("data", "Load and check the data"),
        ("teacher", "Fine-tune the teacher"),
        *((f"teacher:{number}", f"Fine-tune teacher {number}") for number in further),
        *_scoring_stages(config, "teacher-outputs", "the teacher"),
        *(one for at in further for one in _scoring_stages(config, f"teacher-outputs:{at}", f"teacher {at}")),
        *([("teacher-outputs:mean", "Average the teachers' outputs")] if further else []),
        *([("teacher-features", "Compute the teacher's states")] if needs_features(config) else []),
        ("student-ft", "Train Student-FT on hard labels"),
        ("student-kd", "Train Student-KD by distillation"),
    ]
    stages += [(f"quantize:{one.variant_id}", f"Quantize {title(one)}") for one in variants if one.form]
    firsts, others = firsts_and_others(variants)
    for one in [*firsts, *others]:
        stages.append((f"export:{one.variant_id}", f"Export {title(one)}"))
        stages.append((f"verify:{one.variant_id}", f"Verify {title(one)}, time its runtimes"))
    stages += [(f"evaluate:{one.variant_id}", f"Evaluate {title(one)}") for one in variants]
    stages.append(("benchmark", "Time all variants in turns"))
    if config.measurement.shared_runtime != "none":
        asked = config.measurement.shared_runtime
        stages.append(("benchmark-shared", f"Time all variants in {'one runtime' if asked == 'auto' else asked}"))
    stages.append(("record", "Record"))
    return [{"id": stage, "title": text} for stage, text in stages]


def _scoring_stages(config: RunConfig, stage: str, teacher: str) -> list[tuple[str, str]]:
    """Return id and title of the stages in which a teacher scores what Student-KD learns from."""
    stages = [(stage, f"Compute {teacher}'s outputs")]
    if config.distillation.altered_copies:
        stages.append((f"{stage}:altered", f"Compute {teacher}'s outputs on altered copies"))
    if config.distillation.transfer != "none":
        stages.append((f"{stage}:outside", f"Compute {teacher}'s outputs on transfer texts"))
    return [*stages, (f"{stage}:joined", f"Join {teacher}'s outputs")] if len(stages) > 1 else stages


def _has_begun(run_dir: Path) -> bool:
    """Tell whether an earlier attempt has written events."""
    worker = protocol.read_worker(run_dir)
    return worker is not None and worker.log_bytes > 0


def run_pipeline(config: RunConfig, run_dir: Path, settings: Settings, reporter: Reporter) -> dict[str, Any]:
    """Carry out a run and return its result, which also lies in `result.json`.

    Args:
        config: what to do.
        run_dir: receives artifacts, predictions, receipts and the result.
        settings: where things lie.
        reporter: receives progress.

    Raises:
        ConfigError, UserError: bad input; everything computed before stays in the stage cache.
        Cancelled: the run was asked to stop.
    """
    stages = planned_stages(config)
    reporter.plan(stages)
    require(config, settings, resumed=_has_begun(run_dir))
    write_estimate(run_dir, estimate(config, settings), settings.threads)
    context = _begin(config, run_dir, settings, reporter, stages)
    with repeatable_torch(settings.training_threads):
        made = _make_models(context)
        torch.set_num_threads(settings.threads)
        return _measure_all(context, made)


def make_models(config: RunConfig, scratch: Path, settings: Settings, reporter: Reporter) -> None:
    """Do what a run does up to its quantized models, so that it finds them in the stage cache later.

    Args:
        config: of the run.
        scratch: folder for what is not worth keeping.
        settings: where things lie.
        reporter: receives progress.

    Raises:
        ConfigError, UserError: bad input.
        Cancelled: the work was asked to stop.
    """
    stages = planned_stages(config)
    stages = stages[: next(at for at, stage in enumerate(stages) if stage["id"].startswith("export:"))]
    reporter.plan(stages)
    context = _begin(config, scratch, settings, reporter, stages)
    with repeatable_torch(settings.training_threads):
        _make_models(context)


def _begin(
    config: RunConfig, run_dir: Path, settings: Settings, reporter: Reporter, stages: list[dict[str, str]]
) -> Context:
    """Load the data; return what all stages are given."""
    cache = StageCache(settings.cache_dir, reporter, {stage["id"]: stage["title"] for stage in stages})
    device = choose_device(config.device)
    _check_runtimes(config, device, reporter)
    reporter.stage_started("data")
    task = load_task(config, settings)
    fingerprint = task.fingerprint()
    sizes = {"train_n": len(task.train), "eval_n": len(task.evaluation)}
    reporter.stage_done("data", "miss", 0.0, sizes)
    return Context(config, task, fingerprint, settings, run_dir, reporter, cache, device)


def _check_runtimes(config: RunConfig, device: torch.device, reporter: Reporter) -> None:
    """Refuse a runtime that does not serve the device; of a shared one, say that nothing will be timed in it."""
    for setting, name in (
        ("runtime", config.measurement.runtime),
        ("shared_runtime", config.measurement.shared_runtime),
    ):
        if name in ("auto", "none") or device.type in registry.get("runtime", name).facts["devices"]:
            continue
        message = f"`measurement.{setting}` {name} does not serve {device.type}"
        if setting == "runtime":
            raise UserError(f"{message}: choose auto, or the device cpu.")
        reporter.message(f"{message}: nothing will be timed in one runtime; choose another, or the device cpu.")


def _make_models(context: Context) -> dict[str, Output]:
    """Return the model folder of every variant, each stage from the cache where it was computed before."""
    teacher, *further = make_teachers(context)
    teacher_outputs = average_teacher_outputs(context, (teacher, *further))
    teacher_features = compute_teacher_features(context, teacher)
    sources: dict[str, Output] = {
        "teacher": teacher,
        "student-ft": train_student(context, teacher, None),
        "student-kd": train_student(context, teacher, teacher_outputs, teacher_features),
    }
    return {
        one.variant_id: sources[one.source]
        if one.form is None
        else quantize_student(context, sources[one.source], one.form, f"quantize:{one.variant_id}")
        for one in planned_variants(context.config)
    }


def _measure_all(context: Context, made: dict[str, Output]) -> dict[str, Any]:
    """Verify, score and time every variant; return the run's result."""
    config, reporter = context.config, context.reporter
    verified = _verify_all(context, made)
    measured = _evaluate_all(context, verified)
    benchmark = time_variants(
        context,
        {
            one.variant_id: Timed(one.export.folder / ARTIFACT, one.runtime, tuple(one.fixed_lengths["lengths"]))
            for one in measured
        },
    )
    shared = None
    if config.measurement.shared_runtime != "none":
        shared = time_in_one_runtime(context, {one.variant_id: one.export for one in measured})
    reporter.stage_started("record")
    result = record_result(context, measured, benchmark, shared)
    reporter.stage_done("record", "miss", 0.0)
    return result


@dataclass(frozen=True)
class Verified:
    """An exported variant and what is known of its runtimes.

    Attributes:
        export: output of the stage.
        bits: per quantized weight, on average where mixed; 16 for FP16 files.
        found: content of its `verification.json`.
        runtime: the one that serves it, once chosen.
    """

    export: Output
    bits: float
    found: dict[str, Any]
    runtime: str = ""

    @property
    def candidates(self) -> list[Row]:
        """Every runtime that was tried."""
        rows: list[Row] = self.found["candidates"]
        return rows

    def judged(self, tables: Sequence[list[Row]]) -> Verified:
        """Return it with its runtime, chosen by the candidates of its group, its own among them."""
        pooled = pooled_latencies(tables)
        found = {**self.found, "candidates": with_pooled(self.candidates, pooled)}
        return replace(self, found=found, runtime=choose(self.candidates, pooled)["runtime"])


def _verify_all(context: Context, made: dict[str, Output]) -> dict[str, Verified]:
    """Export and verify every variant, and choose the runtime that serves it.

    Every runtime is tried for the first variant of each shape, and those of a group are judged together. Another
    variant takes its shape's; only if its logits do not agree there are the rest tried.
    """
    firsts, others = firsts_and_others(planned_variants(context.config))
    slow: dict[bool, set[str]] = {True: set(), False: set()}
    looked_at: dict[str, Verified] = {}
    for one in firsts:
        known = slow[one.variant == "teacher"]
        found = looked_at[one.variant_id] = _verify(context, one, made[one.variant_id], slow=known)
        known |= far_slower(found.candidates)
    tables: dict[str, list[list[Row]]] = {}
    for one in firsts:
        tables.setdefault(one.group, []).append(looked_at[one.variant_id].candidates)
    verified = {one.variant_id: looked_at[one.variant_id].judged(tables[one.group]) for one in firsts}
    runtimes = {one.shape: verified[one.variant_id].runtime for one in firsts}
    for one in others:
        found = _verify(context, one, made[one.variant_id], prefer=runtimes[one.shape])
        verified[one.variant_id] = found.judged([*tables[one.group], found.candidates])
    return verified


def _verify(
    context: Context, one: Planned, source: Output, prefer: str | None = None, slow: Collection[str] = ()
) -> Verified:
    """Export a variant and try its runtimes (arguments as for `verify_artifact`)."""
    quantizer = context.config.quantization.quantizer if one.form else None
    bits = 16.0
    if one.form:
        bits = one.form.bits or round(source.metrics["average_bits"], 3)
    facts = {"variant": one.variant, "bits": bits, "quantizer": quantizer}
    export = export_artifact(context, source, facts, f"export:{one.variant_id}")
    verification = verify_artifact(context, export, f"verify:{one.variant_id}", prefer, slow)
    return Verified(export, bits, read_verification(verification))


def _evaluate_all(context: Context, verified: Mapping[str, Verified]) -> list[Measured]:
    """Predict with every variant, and choose by group and runtime whether there are graphs of fixed length."""
    planned = planned_variants(context.config)
    measured = {one.variant_id: _evaluate(context, one, verified[one.variant_id]) for one in planned}
    alike: dict[tuple[str, str], list[str]] = {}
    for one in planned:
        alike.setdefault((one.group, measured[one.variant_id].runtime), []).append(one.variant_id)
    for names in alike.values():
        kept = keep_where_faster([measured[name].fixed_lengths for name in names])
        measured |= {
            name: replace(measured[name], fixed_lengths=found) for name, found in zip(names, kept, strict=True)
        }
    return list(measured.values())


def _evaluate(context: Context, one: Planned, verified: Verified) -> Measured:
    """Predict with a variant in the runtime that serves it."""
    config = context.config
    evaluation = evaluate_artifact(context, verified.export, verified.runtime, f"evaluate:{one.variant_id}")
    model = config.teacher.model if one.variant == "teacher" else config.student.model
    if model == TEACHER_LAYERS:
        model = f"{config.teacher.model} layers {config.student.keep_layers}"
    bits, export, found, runtime = verified.bits, verified.export, verified.found, verified.runtime
    lengths = read_fixed_lengths(evaluation)
    return Measured(one.variant_id, one.variant, model, bits, export, found, runtime, evaluation, lengths)


@contextmanager
def repeatable_torch(threads: int) -> Iterator[None]:
    """Make results depend on config, seed and machine only, and nothing slower than it must be."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory it did not write; filling it took a tenth of a training step (MiniLM-L6 on CoLA:
    # 227 against 203 ms).
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Late in training Adam's squared gradients become denormal numbers, which a CPU multiplies many times
    # slower: flushing them to zero halved the teacher's training time (132 to 74 CPU seconds for 80 steps).
    # numpy looks up its smallest numbers once and would warn about zeros if it did so afterwards.
    np.finfo(np.float32), np.finfo(np.float64)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    try:
        with modules_set_aside():
            yield
    finally:
        torch.set_flush_denormal(False)
