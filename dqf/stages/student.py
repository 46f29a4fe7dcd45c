"""Students: the same small model twice, Student-FT on hard labels and Student-KD by distillation."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dqf import registry
from dqf.data.encode import Encoded, Encoder
from dqf.data.tasks import Examples
from dqf.models.catalog import TEACHER_LAYERS, chosen_layers
from dqf.models.compiling import compiled_blocks
from dqf.models.loading import (
    Classifier,
    cut_layers,
    layer_stack,
    load_folder,
    load_source,
    parameter_count,
    save_folder,
)
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages._matching import MatchingLoss
from dqf.stages._suitable import refuse_short_positions, refuse_unsuitable_student
from dqf.stages._transfer import labelled, transfer_set
from dqf.stages._tuning import key_facts, prepare
from dqf.stages.teacher import hard_label_loss, source_fingerprint
from dqf.stages.teacher_features import plan_of
from dqf.stages.teacher_outputs import FILE
from dqf.training import Loss, Recipe, StateLoss, train

VERSION = 1


def train_student(
    context: Context, teacher: Output, teacher_outputs: Output | None, teacher_features: Output | None = None
) -> Output:
    """Return a model folder with a student, FP16.

    Args:
        context: of the run.
        teacher: model folder; its layers are used if the student is `teacher-layers`.
        teacher_outputs: cached logits to distil from; None trains on hard labels alone.
        teacher_features: cached states to distil from too, if the distiller looks at them.
    """
    config = context.config.student
    distils = teacher_outputs is not None

    def work(folder: Path) -> dict[str, Any]:
        student = _load(context, teacher, folder)
        refuse_short_positions(config.model, student.model, context.config)
        refuse_unsuitable_student(student.model, context.config)
        train_set, known = context.task.train, labelled(context)
        examples = transfer_set(context) if distils else train_set.take(known)
        encoded = Encoder(student.tokenizer_json, context.config.task.max_length)(examples)
        # Whatever they learn from, both students take as many steps as so many epochs over the training rows have.
        epochs = config.epochs * math.ceil(len(train_set) / config.batch_size)
        epochs /= math.ceil(len(encoded) / config.batch_size)
        if teacher_outputs is None:
            loss = hard_label_loss(dataclasses.replace(context.task, train=examples))
        elif teacher_features is None:
            loss = _distillation_loss(context, examples, teacher_outputs)
        else:
            loss = _matching_loss(context, teacher, student, examples, encoded, teacher_outputs, teacher_features)
        recipe = Recipe(epochs, config.learning_rate, config.batch_size, context.config.seed)
        metrics: dict[str, Any] = {"params": parameter_count(student.model)}
        merge = prepare(student.model, config, context.config.seed)
        with contextlib.ExitStack() as training:
            if not isinstance(loss, StateLoss):  # which looks at what single blocks return
                compiled = compiled_blocks(student.model, encoded, recipe, context.device, context.reporter)
                training.enter_context(compiled)
            metrics |= train(
                student.model,
                encoded,
                student.pad_id,
                loss,
                recipe,
                context.device,
                folder / "checkpoint.pt",
                context.reporter,
            )
        merge()
        save_folder(student, folder)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        return metrics

    facts = {
        **key_facts(config),
        "seed": context.config.seed,
        **context.data_facts(),
        **context.training_facts(),
        "source": source_fingerprint(config.model, context.settings) if config.model != TEACHER_LAYERS else "",
        "freeze_embeddings": context.config.teacher.freeze_embeddings if config.model == TEACHER_LAYERS else False,
        "distillation": _distillation_facts(context) if distils else None,
    }
    if config.label_rows:  # which rows these are, the fingerprint of the data does not say
        facts["label_seed"] = context.config.task.seed
    wanted = (teacher if config.model == TEACHER_LAYERS else None, teacher_outputs, teacher_features)
    inputs = tuple(one for one in wanted if one is not None)
    stage = "student-kd" if distils else "student-ft"
    return context.cache.run(stage, version=VERSION, config=facts, inputs=inputs, work=work)


def _load(context: Context, teacher: Output, scratch: Path) -> Classifier:
    config = context.config
    if config.student.model != TEACHER_LAYERS:
        return load_source(config.student.model, context.task, context.settings, config.seed, scratch)
    source = load_folder(teacher.folder)
    layers = chosen_layers(config.student.keep_layers, len(layer_stack(source.model)[1]))
    student = cut_layers(source, layers)
    student.model.get_input_embeddings().weight.requires_grad_(not config.teacher.freeze_embeddings)
    return student


def _distillation_facts(context: Context) -> dict[str, Any]:
    """Return what decides the distilled student's loss; its rows are a matter of the teacher's outputs."""
    facts = dataclasses.asdict(context.config.distillation)
    for name in ("teachers", "altered_copies", "transfer", "transfer_rows"):
        del facts[name]
    return facts


def _distillation_loss(context: Context, examples: Examples, teacher_outputs: Output) -> Loss:
    """Return the registered distiller's loss over the cached teacher logits."""
    distiller = registry.get("distiller", context.config.distillation.method)
    options = context.config.distiller_options()
    teacher_logits = torch.from_numpy(np.load(teacher_outputs.folder / FILE))
    labels = torch.from_numpy(examples.labels)

    def loss(logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        device = logits.device
        result: torch.Tensor = distiller.target(
            logits, teacher_logits[rows].to(device), labels[rows].to(device), options
        )
        return result

    return loss


def _matching_loss(
    context: Context,
    teacher: Output,
    student: Classifier,
    examples: Examples,
    encoded: Encoded,
    outputs: Output,
    features: Output,
) -> StateLoss:
    """Return the registered distiller's loss over the cached teacher logits and states."""
    teacher_logits = torch.from_numpy(np.load(outputs.folder / FILE))
    labels = torch.from_numpy(examples.labels)
    return MatchingLoss(context, plan_of(context, teacher), student, encoded, teacher_logits, labels, features)
