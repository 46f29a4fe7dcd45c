"""The sections of a run's config: every setting with its default, limits, flag and help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dqf.fields import setting
from dqf.quant.scales import SCALE_BITS

BITS = (8, 4, 3, 2)
FULL, LORA = "full", "lora"


def _tuning(who: str) -> Any:
    return setting(
        FULL,
        "Tuning",
        "full trains the weights themselves; lora trains low-rank adapters beside the blocks' linear layers, and the "
        "head, and merges them; embeddings and norms then stay as they are.",
        choices=(FULL, LORA),
        flag=f"--{who}-tuning",
        advanced=True,
    )


def _lora_rank(who: str) -> Any:
    return setting(
        16, "LoRA rank", "Of the adapters.", minimum=1, maximum=1024, flag=f"--{who}-lora-rank", advanced=True
    )


def _lora_alpha(who: str) -> Any:
    return setting(
        32,
        "LoRA alpha",
        "The adapters' output is scaled by alpha / rank.",
        minimum=1,
        maximum=10_000,
        flag=f"--{who}-lora-alpha",
        advanced=True,
    )


def _lora_dropout(who: str) -> Any:
    return setting(
        0.0,
        "LoRA dropout",
        "Share of the adapters' inputs dropped in training.",
        minimum=0.0,
        maximum=0.9,
        flag=f"--{who}-lora-dropout",
        advanced=True,
    )


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
    seed: int = setting(
        0,
        "Data seed",
        "Seed of which rows are drawn and held out; the run's own seed never changes them.",
        minimum=0,
        maximum=2**31 - 1,
        flag="--task-seed",
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
    seed: int = setting(
        0,
        "Teacher seed",
        "Seed of the teacher's fine-tuning and of its new head; runs that differ in their own seed share the teacher.",
        minimum=0,
        maximum=2**31 - 1,
        flag="--teacher-seed",
        advanced=True,
    )
    tuning: str = _tuning("teacher")
    lora_rank: int = _lora_rank("teacher")
    lora_alpha: int = _lora_alpha("teacher")
    lora_dropout: float = _lora_dropout("teacher")


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
    tuning: str = _tuning("student")
    lora_rank: int = _lora_rank("student")
    lora_alpha: int = _lora_alpha("student")
    lora_dropout: float = _lora_dropout("student")


@dataclass(frozen=True)
class DistillationConfig:
    """How Student-KD learns from the teacher."""

    method: str = setting("logit-kd", "Distillation", "The registered distiller.", flag="--distiller")
    teachers: int = setting(
        1,
        "Averaged teachers",
        "Student-KD learns from the average of so many teachers, fine-tuned with one teacher seed after the other; the "
        "first of them is the one that is reported, and whose states are matched.",
        minimum=1,
        maximum=10,
        flag="--averaged-teachers",
        advanced=True,
    )
    altered_copies: int = setting(
        0,
        "Altered copies",
        "So many copies of each training text with words dropped, replaced or swapped; the teacher scores them and "
        "Student-KD learns from them too, in the same number of steps. 0: none.",
        minimum=0,
        maximum=20,
        flag="--altered-copies",
        advanced=True,
    )
    transfer: str = setting(
        "none",
        "Transfer texts",
        "Texts without labels that the teacher scores and Student-KD learns from too, in the same number of steps: c4, "
        "the training rows of a GLUE task (glue:mnli), or file:PATH with a column `text` and, for tasks of two texts, "
        "`pair`. none: none.",
        flag="--transfer",
        advanced=True,
    )
    transfer_rows: int = setting(
        10_000,
        "Transfer rows",
        "At most so many of the transfer texts, drawn by the data seed.",
        minimum=1,
        maximum=100_000_000,
        flag="--transfer-rows",
        advanced=True,
    )
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
    size_budget_mb: float = setting(
        0.0,
        "Mixed precision, size budget in MB",
        "Adds variants whose layers have 8, 4, 3 or 2 bits, chosen by measured sensitivity, with a weight file of at "
        "most this many MB (1e6 bytes); 0 adds none.",
        minimum=0,
        maximum=1e6,
        flag="--size-budget-mb",
    )
    group_size: int = setting(
        32,
        "Group size",
        "Weights that share one scale along the input dimension; 0 means one scale per row.",
        minimum=0,
        maximum=65536,
        flag="--group-size",
    )
    scale_bits: int = setting(
        4,
        "Bits of a scale",
        "16: each group has an FP16 scale. 8 or 4: it has a multiple of so many bits of its row's FP16 scale, which "
        "makes files smaller. Engines from outside, and rows that are one group, keep FP16 scales.",
        choices=SCALE_BITS,
        flag="--scale-bits",
        advanced=True,
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
    block_steps: int = setting(
        0,
        "Block tuning steps",
        "After quantizing, codes and scales of each block are trained together for so many steps, to give what the "
        "block gave in full precision; helps at 2 and 3 bits. 0: none.",
        minimum=0,
        maximum=10_000,
        flag="--block-steps",
        advanced=True,
    )
    output_steps: int = setting(
        0,
        "Output tuning steps",
        "After quantizing, the codes and scales of all layers are trained together for so many steps, to give the "
        "answers of full precision; helps at 2 and 3 bits. Needs memory as training does. 0: none.",
        minimum=0,
        maximum=100_000,
        flag="--output-steps",
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
    shared_runtime: str = setting(
        "none",
        "Shared runtime",
        "Also times all variants in this one runtime, such as openvino-fp32, which loads every file; none does not.",
        flag="--shared-runtime",
        advanced=True,
    )
    latency_samples: int = setting(
        200,
        "Latency samples",
        "Real examples timed per variant, batch 1, in turns.",
        minimum=5,
        maximum=100_000,
        flag="--latency-samples",
        advanced=True,
    )
