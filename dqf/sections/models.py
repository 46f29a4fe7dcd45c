"""The sections `teacher` and `student`: which models, and how they are trained."""

from __future__ import annotations

from dataclasses import dataclass

from dqf.fields import setting
from dqf.sections.tuning import lora_alpha_setting, lora_dropout_setting, lora_rank_setting, tuning_setting


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
    seed: int = setting(
        0,
        "Teacher seed",
        "Seed of the teacher's fine-tuning and of its new head; runs that differ in their own seed share the teacher.",
        minimum=0,
        maximum=2**31 - 1,
        flag="--teacher-seed",
        advanced=True,
    )
    tuning: str = tuning_setting("teacher")
    lora_rank: int = lora_rank_setting("teacher")
    lora_alpha: int = lora_alpha_setting("teacher")
    lora_dropout: float = lora_dropout_setting("teacher")


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
        commas=True,
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
    label_rows: int = setting(
        0,
        "Rows with labels",
        "The students see the labels of only so many training rows; Student-KD uses the others as text that the "
        "teacher scores. Both take the same number of steps. 0: all rows.",
        minimum=0,
        maximum=100_000_000,
        flag="--label-rows",
        advanced=True,
    )
    tuning: str = tuning_setting("student")
    lora_rank: int = lora_rank_setting("student")
    lora_alpha: int = lora_alpha_setting("student")
    lora_dropout: float = lora_dropout_setting("student")
