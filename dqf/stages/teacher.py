"""Teacher: the full-precision reference, fine-tuned for the task if it is not already."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from dqf.data.encode import Encoder
from dqf.data.tasks import REGRESSION, Task
from dqf.errors import UserError
from dqf.models.catalog import TEACHER_LAYERS, local_model_path
from dqf.models.compiling import compiled_blocks
from dqf.models.loading import load_source, parameter_count, save_folder
from dqf.models.revision import hub_revision
from dqf.models.soundness import refuse_broken_folder
from dqf.models.tokenizer import was_lower_cased
from dqf.settings import Settings
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages._suitable import refuse_short_positions, refuse_unsuitable_source, refuse_unsuitable_student
from dqf.stages._tuning import key_facts, prepare
from dqf.training import Loss, Recipe, train

VERSION = 1


def make_teachers(context: Context) -> tuple[Output, ...]:
    """Return model folders with the teacher and those it is averaged with, each fine-tuned with the next seed.

    Raises:
        UserError: several are wanted of a model that is not fine-tuned here, so that all would be the same.
    """
    config = context.config
    first = make_teacher(context)
    if config.distillation.teachers > 1 and not first.metrics["fine_tuned_here"]:
        raise UserError(
            f"teachers to average must be fine-tuned here, each with a seed of its own: {config.teacher.model} brings "
            f"its head; take one teacher instead of {config.distillation.teachers}, or fine-tune it always."
        )
    further = []
    for number in range(2, config.distillation.teachers + 1):
        seeded = dataclasses.replace(config.teacher, seed=config.teacher.seed + number - 1)
        other = dataclasses.replace(context, config=dataclasses.replace(config, teacher=seeded))
        further.append(make_teacher(other, f"teacher:{number}"))
    return (first, *further)


def make_teacher(context: Context, stage: str = "teacher") -> Output:
    """Return a model folder with the teacher, FP16; `stage` is its id within the run."""
    config = context.config.teacher

    def work(folder: Path) -> dict[str, Any]:
        # What the student would fail by is told before the teacher is trained for it.
        student = context.config.student.model
        if student != TEACHER_LAYERS:
            refuse_broken_folder(student, context.settings)
            refuse_unsuitable_source(student, context.config, context.settings)
        context.reporter.message(f"Loading {config.model}.")
        teacher = load_source(config.model, context.task, context.settings, config.seed, folder)
        refuse_short_positions(config.model, teacher.model, context.config)
        if student == TEACHER_LAYERS:
            refuse_unsuitable_student(teacher.model, context.config)
        if config.fine_tune == "never" and not teacher.has_head:
            raise UserError(
                f"`teacher.fine_tune` never needs a model with a head for this task's {context.task.outputs} outputs: "
                f"{config.model} has none; use auto."
            )
        metrics: dict[str, Any] = {"params": parameter_count(teacher.model), "fine_tuned_here": 0}
        if config.fine_tune == "always" or (config.fine_tune == "auto" and not teacher.fine_tuned):
            encoded = Encoder(teacher.tokenizer_json, context.config.task.max_length)(context.task.train)
            table = teacher.model.get_input_embeddings()
            table.weight.requires_grad_(not config.freeze_embeddings)
            merge = prepare(teacher.model, config, config.seed)
            recipe = Recipe(config.epochs, config.learning_rate, config.batch_size, config.seed)
            with compiled_blocks(teacher.model, encoded, recipe, context.device, context.reporter):
                metrics |= train(
                    teacher.model,
                    encoded,
                    teacher.pad_id,
                    hard_label_loss(context.task),
                    recipe,
                    context.device,
                    folder / "checkpoint.pt",
                    context.reporter,
                )
            metrics["fine_tuned_here"] = 1
            merge()
        save_folder(teacher, folder)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        return metrics

    facts = {
        **key_facts(config),
        **context.data_facts(),
        **context.training_facts(),
        "source": source_fingerprint(config.model, context.settings),
    }
    return context.cache.run(stage, version=VERSION, config=facts, inputs=(), work=work)


def hard_label_loss(task: Task) -> Loss:
    """Return cross-entropy with the labels, or mean squared error for regression."""
    if task.kind == REGRESSION:
        targets = torch.from_numpy(task.train.labels).float()
        return lambda logits, rows: functional.mse_loss(logits[:, 0], targets[rows].to(logits.device))
    labels = torch.from_numpy(task.train.labels)
    return lambda logits, rows: functional.cross_entropy(logits, labels[rows].to(logits.device))


def source_fingerprint(source: str, settings: Settings) -> str:
    """Return what tells two versions of a model apart: a hub's commit; names, sizes and times of local files."""
    path = local_model_path(source, settings)
    if source.startswith("starter:"):
        return source
    if path is None:
        revision = hub_revision(source)
        return f"{source}@{revision}" if revision else source
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    # Before, such a model's texts were lower-cased all the same.
    return json.dumps([source, facts, *(["cased"] if was_lower_cased(path) else [])])
