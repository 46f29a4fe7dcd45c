"""RunConfig: everything one launch needs, as frozen data that goes to JSON and back.

`RunConfig.from_dict` is the one gate: command line, form and files all pass through it, and it
reports every error at once. What needs a look at files (columns, shapes, disk) is checked in
`dqf.preflight`, also before any training.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dqf import registry
from dqf.data.catalog import check_calibration_source, check_task_source
from dqf.errors import ConfigError, FieldError, did_you_mean
from dqf.fields import build, section, setting
from dqf.models.catalog import TEACHER_LAYERS, check_model_source, parse_keep_layers

BITS = (8, 4, 3, 2)


@dataclass(frozen=True)
class TaskConfig:
    """What to learn: a task and how much of it."""

    source: str = setting(
        "starter:bbc-headlines",
        "Task",
        "starter:bbc-headlines, a GLUE task (glue:sst2), or file:PATH of a CSV, JSONL or parquet file.",
        flag="--task",
    )
    text_column: str = setting("", "Text column", "Column with the text (own files).", flag="--text-column")
    text_pair_column: str = setting(
        "",
        "Second text column",
        "Column with the second text, if examples are pairs (own files).",
        flag="--text-pair-column",
    )
    label_column: str = setting(
        "", "Label column", "Column with the class or number (own files).", flag="--label-column"
    )
    target: str = setting(
        "auto",
        "Target",
        "Whether the label is a class or a number; auto decides from the column.",
        choices=("auto", "classes", "number"),
        flag="--target",
        advanced=True,
    )
    train_rows: int = setting(
        0,
        "Training rows",
        "At most this many training rows; 0 takes all.",
        minimum=0,
        flag="--train-rows",
        advanced=True,
    )
    eval_rows: int = setting(
        0,
        "Evaluation rows",
        "At most this many evaluation rows; 0 takes all.",
        minimum=0,
        flag="--eval-rows",
        advanced=True,
    )
    split: str = setting(
        "evaluation",
        "Scored on",
        "evaluation scores the reported rows; tuning scores a held-out fifth of the training rows instead.",
        choices=("evaluation", "tuning"),
        flag="--split",
        advanced=True,
    )
    max_length: int = setting(
        128,
        "Longest input",
        "Inputs are cut to this many tokens.",
        minimum=8,
        maximum=8192,
        flag="--max-length",
        advanced=True,
    )


@dataclass(frozen=True)
class TeacherConfig:
    """The full-precision reference."""

    model: str = setting(
        "starter:smollm2-135m", "Teacher", "A starter, a hub id (org/name) or a local model folder.", flag="--teacher"
    )
    fine_tune: str = setting(
        "auto",
        "Fine-tune",
        "auto fine-tunes unless the model already has a head trained for the task's classes.",
        choices=("auto", "always", "never"),
        flag="--fine-tune",
        advanced=True,
    )
    epochs: float = setting(
        3.0,
        "Epochs",
        "Passes over the training rows.",
        minimum=0.01,
        maximum=100,
        flag="--teacher-epochs",
        advanced=True,
    )
    freeze_embeddings: bool = setting(
        True,
        "Freeze embeddings",
        "Keep the embedding table as it is while fine-tuning; saves memory and time on small data.",
        flag="--freeze-embeddings",
        advanced=True,
    )
    learning_rate: float = setting(
        1e-4,
        "Learning rate",
        "Peak learning rate of AdamW.",
        minimum=1e-7,
        maximum=0.1,
        flag="--teacher-learning-rate",
        advanced=True,
    )
    batch_size: int = setting(
        16, "Batch size", "Examples per step.", minimum=1, maximum=4096, flag="--teacher-batch-size", advanced=True
    )


@dataclass(frozen=True)
class StudentConfig:
    """The small model, trained twice: on hard labels (FT) and by distillation (KD)."""

    model: str = setting(
        "starter:minilm-l6",
        "Student",
        "A starter, a hub id, a local model folder, or teacher-layers: a chosen set of the teacher's own layers.",
        flag="--student",
    )
    keep_layers: str = setting(
        "10",
        "Layers kept",
        "For teacher-layers: how many, evenly spaced (10), or which ones (0,3,6,...).",
        flag="--keep-layers",
    )
    epochs: float = setting(
        5.0,
        "Epochs",
        "Passes over the training rows.",
        minimum=0.01,
        maximum=1000,
        flag="--student-epochs",
        advanced=True,
    )
    learning_rate: float = setting(
        1e-4,
        "Learning rate",
        "Peak learning rate of AdamW.",
        minimum=1e-7,
        maximum=0.1,
        flag="--student-learning-rate",
        advanced=True,
    )
    batch_size: int = setting(
        16, "Batch size", "Examples per step.", minimum=1, maximum=4096, flag="--student-batch-size", advanced=True
    )


@dataclass(frozen=True)
class DistillationConfig:
    """How Student-KD learns from the teacher."""

    method: str = setting("logit-kd", "Distillation", "The registered distiller.", flag="--distiller")
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class QuantizationConfig:
    """How the students' weights are packed."""

    quantizer: str = setting("gptq", "Quantizer", "The registered quantizer.", flag="--quantizer")
    bits: tuple[int, ...] = setting(
        (4,), "Bits", "Bits per weight; several make several variants.", choices=BITS, flag="--bits"
    )
    average_bits: float = setting(
        0.0,
        "Mixed precision, average bits",
        "Adds variants whose layers have 8, 4, 3 or 2 bits, chosen by measured sensitivity, with at most this many "
        "bits on average; 0 adds none.",
        minimum=0,
        maximum=8,
        flag="--average-bits",
    )
    group_size: int = setting(
        32,
        "Group size",
        "Weights that share one scale along the input dimension; 0 means one scale per row.",
        minimum=0,
        maximum=65536,
        flag="--group-size",
    )
    symmetric: bool = setting(
        False, "Symmetric", "Symmetric ranges (no zero point) instead of asymmetric ones.", flag="--symmetric"
    )
    embeddings: bool = setting(
        True, "Quantize embeddings", "Quantize nn.Embedding tables too.", flag="--embeddings", advanced=True
    )
    head: bool = setting(
        True,
        "Quantize head",
        "Quantize the linear layers outside the transformer blocks too: classification head, pooler.",
        flag="--head",
        advanced=True,
    )
    calibration: str = setting(
        "training",
        "Calibration data",
        "training (the task's training rows), c4 (a sample of C4), or file:PATH with a column `text`.",
        flag="--calibration",
        advanced=True,
    )
    calibration_samples: int = setting(
        128,
        "Calibration samples",
        "Texts shown to the quantizer.",
        minimum=1,
        maximum=100_000,
        flag="--calibration-samples",
        advanced=True,
    )
    calibration_length: int = setting(
        0,
        "Calibration length",
        "Calibration texts are cut to this many tokens; 0 takes the task's longest input.",
        minimum=0,
        maximum=8192,
        flag="--calibration-length",
        advanced=True,
    )
    calibration_seed: int = setting(
        0,
        "Calibration seed",
        "Seed of which texts are drawn.",
        minimum=0,
        maximum=2**31 - 1,
        flag="--calibration-seed",
        advanced=True,
    )
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasurementConfig:
    """How variants are measured."""

    runtime: str = setting(
        "auto",
        "Runtime",
        "auto measures every runtime that can load the artifact and keeps the fastest faithful one.",
        flag="--runtime",
        advanced=True,
    )
    latency_samples: int = setting(
        200,
        "Latency samples",
        "Real examples timed per variant, batch 1, interleaved.",
        minimum=5,
        maximum=100_000,
        flag="--latency-samples",
        advanced=True,
    )


@dataclass(frozen=True)
class RunConfig:
    """One launch. Two equal configs on one machine make the same weights and predictions."""

    preset: str = setting("", "Preset", "The preset it started from; informative.")
    seed: int = setting(
        0, "Seed", "Seed of splits, shuffling and initial weights.", minimum=0, maximum=2**31 - 1, flag="--seed"
    )
    device: str = setting(
        "auto",
        "Device",
        "auto takes CUDA where there is one.",
        choices=("auto", "cpu", "cuda"),
        flag="--device",
        advanced=True,
    )
    task: TaskConfig = section(TaskConfig)
    teacher: TeacherConfig = section(TeacherConfig)
    student: StudentConfig = section(StudentConfig)
    distillation: DistillationConfig = section(DistillationConfig)
    quantization: QuantizationConfig = section(QuantizationConfig)
    measurement: MeasurementConfig = section(MeasurementConfig)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> RunConfig:
        """Validate a mapping, fill in defaults and return the config.

        Raises:
            ConfigError: with every error found, each naming its setting.
        """
        errors: list[FieldError] = []
        config: RunConfig = build(cls, given, "", errors)
        config = _resolve_options(config, errors)
        _check_sources(config, errors)
        if errors:
            raise ConfigError(errors)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; `from_dict` of it gives an equal config."""
        data: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return data

    def digest(self) -> str:
        """Return 12 hex digits that name this config."""
        return digest_of(self.to_dict())[:12]

    def distiller_options(self) -> Any:
        """Return the distiller's own config."""
        return registry.get("distiller", self.distillation.method).options(self.distillation.options, "", [])

    def quantizer_options(self) -> Any:
        """Return the quantizer's own config."""
        return registry.get("quantizer", self.quantization.quantizer).options(self.quantization.options, "", [])


def digest_of(data: Any) -> str:
    """Return the SHA-256 of JSON data with sorted keys, as 64 hex digits."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` laid over it, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _resolve_options(config: RunConfig, errors: list[FieldError]) -> RunConfig:
    """Replace each method's `options` by its full config, so that defaults are recorded."""
    for kind, name, choice in (
        ("distiller", "distillation", "method"),
        ("quantizer", "quantization", "quantizer"),
    ):
        part = getattr(config, name)
        chosen = getattr(part, choice)
        if chosen not in registry.names(kind):
            hint = did_you_mean(chosen, registry.names(kind))
            errors.append(FieldError(f"{name}.{choice}", f"must be a registered {kind}: got {chosen!r}{hint}"))
            continue
        options = registry.get(kind, chosen).options(part.options, f"{name}.options", errors)
        filled = dataclasses.replace(part, options=dataclasses.asdict(options))
        config = dataclasses.replace(config, **{name: filled})
    method = config.quantization.quantizer
    if method in registry.names("quantizer"):
        makes = registry.get("quantizer", method).facts.get("bits", BITS)
        for bits in config.quantization.bits:
            if bits not in makes:
                allowed = ", ".join(map(str, makes))
                errors.append(
                    FieldError(
                        "quantization.bits", f"of {method} must be {allowed}: got {bits}; choose another quantizer."
                    )
                )
        if config.quantization.average_bits and set(makes) != set(BITS):
            errors.append(
                FieldError("quantization.average_bits", f"needs a quantizer of 8, 4, 3 and 2 bits: got {method}.")
            )
    if 0 < config.quantization.average_bits < min(BITS):
        given = config.quantization.average_bits
        errors.append(
            FieldError("quantization.average_bits", f"must be 0 or {min(BITS)} to {max(BITS)}: got {given:g}.")
        )
    runtime = config.measurement.runtime
    if runtime != "auto" and runtime not in registry.names("runtime"):
        known = ("auto", *registry.names("runtime"))
        errors.append(
            FieldError(
                "measurement.runtime",
                f"must be auto or a registered runtime: got {runtime!r}{did_you_mean(runtime, known)}",
            )
        )
    return config


def _check_sources(config: RunConfig, errors: list[FieldError]) -> None:
    """Check the spelling of sources; whether they exist is `dqf.preflight`'s to say."""
    for path, message in (
        ("task.source", check_task_source(config.task.source)),
        ("teacher.model", check_model_source(config.teacher.model, teacher_layers=False)),
        ("student.model", check_model_source(config.student.model, teacher_layers=True)),
        ("quantization.calibration", check_calibration_source(config.quantization.calibration)),
    ):
        if message:
            errors.append(FieldError(path, message))
    if config.student.model == TEACHER_LAYERS:
        layers = parse_keep_layers(config.student.keep_layers)
        if isinstance(layers, str):
            errors.append(FieldError("student.keep_layers", layers))
    if config.task.source.startswith("file:"):
        if not config.task.text_column:
            errors.append(FieldError("task.text_column", "must name the column with the text: got nothing."))
        if not config.task.label_column:
            errors.append(FieldError("task.label_column", "must name the column with the label: got nothing."))
