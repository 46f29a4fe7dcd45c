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
from dataclasses import dataclass
from typing import Any

from dqf import registry
from dqf.data.catalog import check_calibration_source, check_task_source, check_transfer_source
from dqf.errors import ConfigError, FieldError, did_you_mean
from dqf.fields import build, section, setting
from dqf.models.catalog import TEACHER_LAYERS, check_model_source, parse_keep_layers
from dqf.sections import (
    BITS,
    DistillationConfig,
    MeasurementConfig,
    QuantizationConfig,
    StudentConfig,
    TaskConfig,
    TeacherConfig,
)


@dataclass(frozen=True)
class RunConfig:
    """One launch. Two equal configs on one machine make the same weights and predictions."""

    preset: str = setting("", "Preset", "The preset it started from; informative.")
    seed: int = setting(
        0,
        "Seed",
        "Seed of the students: their new heads, shuffling and dropout.",
        minimum=0,
        maximum=2**31 - 1,
        flag="--seed",
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
        whole = registry.get("quantizer", method).facts.get("engine")
        for name in ("average_bits", "size_budget_mb"):
            if getattr(config.quantization, name) and (whole or set(makes) != set(BITS)):
                errors.append(
                    FieldError(
                        f"quantization.{name}",
                        f"needs a quantizer of single layers at 8, 4, 3 and 2 bits: got {method}; use gptq or 0.",
                    )
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
    shared = config.measurement.shared_runtime
    if shared not in ("none", "auto") and shared not in registry.names("runtime"):
        known = ("none", "auto", *registry.names("runtime"))
        errors.append(
            FieldError(
                "measurement.shared_runtime",
                f"must be none, auto or a registered runtime: got {shared!r}{did_you_mean(shared, known)}",
            )
        )
    return config


def _check_sources(config: RunConfig, errors: list[FieldError]) -> None:
    """Check the spelling of sources; whether they exist is `dqf.preflight`'s to say."""
    for path, message in (
        ("task.source", check_task_source(config.task.source)),
        ("teacher.model", check_model_source(config.teacher.model, teacher_layers=False)),
        ("student.model", check_model_source(config.student.model, teacher_layers=True)),
        ("distillation.transfer", check_transfer_source(config.distillation.transfer)),
        ("quantization.calibration", check_calibration_source(config.quantization.calibration)),
    ):
        if message:
            errors.append(FieldError(path, message))
    if config.distillation.teachers > 1 and config.teacher.fine_tune == "never":
        given = config.distillation.teachers
        errors.append(
            FieldError(
                "distillation.teachers", f"must be 1 if the teacher is never fine-tuned: got {given}, all the same."
            )
        )
    if config.student.model == TEACHER_LAYERS:
        layers = parse_keep_layers(config.student.keep_layers)
        if isinstance(layers, str):
            errors.append(FieldError("student.keep_layers", layers))
    if config.task.source.startswith("file:"):
        if not config.task.text_column:
            errors.append(FieldError("task.text_column", "must name the column with the text: got nothing."))
        if not config.task.label_column:
            errors.append(FieldError("task.label_column", "must name the column with the label: got nothing."))
