"""Checks that need a look at files, made before anything is trained; no torch here.

`RunConfig.from_dict` has already checked spelling, types and limits.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dqf import registry
from dqf.config import RunConfig
from dqf.data.calibration import check_calibration
from dqf.data.catalog import takes_pairs
from dqf.data.glue import local_glue_folder
from dqf.data.load import load_task
from dqf.data.outside import own_texts
from dqf.data.table import columns as table_columns
from dqf.data.transfer import check_second_texts
from dqf.errors import ConfigError, FieldError, UserError
from dqf.estimate import estimate, packed_bytes
from dqf.estimate_history import current_correction
from dqf.models.catalog import TEACHER_LAYERS, ModelShape, chosen_layers, local_model_path, read_shape
from dqf.models.layer_pairs import (
    DIFFERENT_ARCHITECTURES,
    DIFFERENT_TOKENS,
    feature_plan,
    needs_features,
    same_tokenizer,
)
from dqf.models.positions import length_error
from dqf.quant.engines import refuse
from dqf.quant.qparams import check_group_size
from dqf.room import memory_error, memory_limit
from dqf.runtimes._select import installed_runtimes
from dqf.settings import Settings

__all__ = ["check", "columns"]

T = TypeVar("T")
UNKNOWN_LAYERS = 10_000
"""Of a model on the hub, more than any has: its layer map is checked for spelling now, and again once it is there."""
NOT_LINEAR = frozenset({"gpt2", "openai-gpt", "ctrl", "xlnet"})
"""Architectures whose blocks multiply by other things than `nn.Linear` (Conv1D, bare parameters)."""


def columns(path: str, settings: Settings) -> list[str]:
    """Return the column names of an own file.

    Raises:
        UserError: it does not exist, is not allowed or cannot be read.
    """
    return table_columns(path, settings)


def require(config: RunConfig, settings: Settings, resumed: bool = False) -> None:
    """Refuse a config that would fail later.

    Raises:
        ConfigError: with everything that `check` found.
    """
    errors = check(config, settings, resumed)
    if errors:
        raise ConfigError(errors)


def check(config: RunConfig, settings: Settings, resumed: bool = False) -> list[FieldError]:
    """Return everything that would make a run fail later, as far as files here can tell.

    Args:
        config: a valid config.
        settings: allowed roots and results folder.
        resumed: the run has begun, so much of what it needs lies on the disk already: how much is free is not asked.
    """
    errors: list[FieldError] = []

    def attempt(path: str, what: Callable[[], T]) -> T | None:
        try:
            return what()
        except UserError as error:
            errors.append(FieldError(path, str(error)))
            return None

    source = config.task.source
    hub_task = source.startswith("glue:") and local_glue_folder(source.removeprefix("glue:"), settings) is None
    task = None if hub_task else attempt("task.source", lambda: load_task(config, settings))
    teacher = attempt("teacher.model", lambda: read_shape(config.teacher.model, settings))
    student = teacher
    if config.student.model == TEACHER_LAYERS:
        if teacher is not None:
            kept = attempt("student.keep_layers", lambda: chosen_layers(config.student.keep_layers, teacher.layers))
            student = teacher.with_layers(len(kept)) if kept else None
    else:
        student = attempt("student.model", lambda: read_shape(config.student.model, settings))
    shapes = {config.teacher.model: teacher}
    if config.student.model != TEACHER_LAYERS:
        shapes[config.student.model] = student
    for source, shape in shapes.items():
        message = length_error(source, shape, config.task.max_length) if shape is not None else ""
        if message:
            errors.append(FieldError("task.max_length", message))
    if student is not None:
        if student.architecture in NOT_LINEAR:
            message = f"cannot be quantized: the blocks of {student.architecture} are not linear layers; take another."
            errors.append(FieldError("student.model", message))
        if student.encoder_decoder:
            message = f"cannot be quantized: {student.architecture} is an encoder and a decoder; take one or the other."
            errors.append(FieldError("student.model", message))
        message = check_group_size(student.group_dimensions, config.quantization.group_size)
        if message:
            errors.append(FieldError("quantization.group_size", message))
        message = _budget_error(config, student)
        if message:
            errors.append(FieldError("quantization.size_budget_mb", message))
        quantizer = registry.get("quantizer", config.quantization.quantizer)
        message = refuse(quantizer, student.architecture, config.quantization.group_size)
        if message:
            errors.append(FieldError("quantization.quantizer", message))
    if needs_features(config):
        sizes = [shape.layers if shape is not None else UNKNOWN_LAYERS for shape in (teacher, student)]
        plan = attempt("distillation.options.layers", lambda: feature_plan(config, *sizes))
        message = _token_level_error(config, settings, teacher, student) if plan and plan.attention else ""
        if message:
            errors.append(FieldError("distillation.options.attention_weight", message))
    calibration, transfer = config.quantization, config.distillation.transfer
    if task is not None:
        # A student whose source is wrong was told of above.
        tokenizer = _tokenizer(config, settings) if student is not None else None
        length = calibration.calibration_length or config.task.max_length
        attempt("quantization.calibration", lambda: check_calibration(calibration, task, settings, tokenizer, length))
    elif calibration.calibration.startswith("file:"):
        attempt("quantization.calibration", lambda: own_texts(calibration.calibration, settings))
    if transfer.startswith("file:"):
        attempt("distillation.transfer", lambda: own_texts(transfer, settings))
    if transfer != "none" and takes_pairs(config.task.source, config.task.text_pair_column):
        attempt("distillation.transfer", lambda: check_second_texts(transfer, settings))
    for path, runtime in _chosen_runtimes(config).items():
        if runtime not in installed_runtimes():
            message = f"must be installed: {runtime} is not; `pip install -r requirements-export.txt` brings it."
            errors.append(FieldError(path, message))
    if not errors:
        correction = current_correction(settings)
        memory = memory_error(config, lambda one: correction.apply(estimate(one, settings)), memory_limit())
        for message in ("" if resumed else _disk_error(config, settings), memory):
            if message:
                errors.append(FieldError("", message))
    return errors


def _chosen_runtimes(config: RunConfig) -> dict[str, str]:
    """Return the runtimes that a config names, by setting."""
    wanted = {
        "measurement.runtime": config.measurement.runtime,
        "measurement.shared_runtime": config.measurement.shared_runtime,
    }
    return {path: runtime for path, runtime in wanted.items() if runtime not in ("auto", "none")}


def _tokenizer(config: RunConfig, settings: Settings) -> Path | None:
    """Return the student's `tokenizer.json`, None where it is known only once the model is loaded."""
    source = config.teacher.model if config.student.model == TEACHER_LAYERS else config.student.model
    folder = local_model_path(source, settings)
    file = None if folder is None else folder / "tokenizer.json"
    return file if file is not None and file.is_file() else None


def _budget_error(config: RunConfig, student: ModelShape) -> str:
    least = packed_bytes(config, student, 2) / 1e6
    if not 0 < config.quantization.size_budget_mb < least:
        return ""
    return (
        f"must leave room for 2 bits everywhere, about {least:.1f} MB: got {config.quantization.size_budget_mb:g}; "
        "raise it, or take larger groups."
    )


def _token_level_error(
    config: RunConfig, settings: Settings, teacher: ModelShape | None, student: ModelShape | None
) -> str:
    """Return why attention cannot be matched; for models on the hub the student's stage looks again at the tokens."""
    if same_tokenizer(config.teacher.model, config.student.model, settings) is False:
        return DIFFERENT_TOKENS
    if teacher is not None and student is not None and teacher.architecture != student.architecture:
        return DIFFERENT_ARCHITECTURES.format(teacher.architecture, student.architecture)
    return ""


def _disk_error(config: RunConfig, settings: Settings) -> str:
    needed = estimate(config, settings).disk_bytes
    folder = settings.results_dir
    while not folder.exists():
        folder = Path(folder).parent
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return ""
    return (
        f"the results folder needs room for the run: about {needed / 1e9:.1f} GB, and {folder} has "
        f"{free / 1e9:.1f} GB free; free some or set `DQF_RESULTS_DIR` to another disk."
    )
