"""What a run will take, from the models' shapes and the data's size, before it starts; no torch here.

Rates are those of the 2-core CPUs we measure on, one with BF16 and one without; other machines are
scaled by cores. Estimates are for planning, within about a factor of two; file sizes are arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dqf import registry
from dqf.config import RunConfig
from dqf.data.load import load_task
from dqf.environment import multiplies_bf16
from dqf.models.catalog import TEACHER_LAYERS, ModelShape, chosen_layers, read_shape
from dqf.models.layer_pairs import feature_plan, needs_features
from dqf.quant.scales import FP16_BITS
from dqf.sections import LORA
from dqf.settings import Settings

WORDS_TO_TOKENS = 1.4
SPECIAL_TOKENS = 2
TRAINING_FLOPS_PER_CORE = {True: 80e9, False: 40e9}
"""With BF16 and without."""
INFERENCE_FLOPS_PER_CORE = 80e9
OPTIMIZER_BYTES_PER_S = 12e9
PROCESS_START_S = 3.0
QUANTIZE_S_PER_PARAM, SECONDS = 5e-7, "seconds_per_param"
"""Of ours; an engine from outside says its own under that name."""
MIXED_PASSES = 12
"""Of a mixed precision beside one of uniform bits: four bit-widths are tried, and every layer's sensitivity to them."""
RUNTIME_BYTES = 700_000_000
CALIBRATION_ROWS = 32
"""Texts of a calibration batch, which block tuning takes one of per step."""
PADDING = 2.0
"""Tokens of the longest row of a batch of like lengths, in rows of average length; at most `max_length`."""
TEACHER, STUDENTS, QUANTIZE, MEASURE = "teacher", "students", "quantize", "measure"
PARTS = {
    TEACHER: ("teacher", "teacher-outputs", "teacher-features"),
    STUDENTS: ("student-ft", "student-kd"),
    QUANTIZE: ("quantize",),
    MEASURE: ("export", "verify", "evaluate", "benchmark", "benchmark-shared"),
}
"""Parts of a run, and the stages each consists of: what stands before the colon of their ids."""


@dataclass(frozen=True)
class VariantEstimate:
    """What one variant will weigh."""

    variant: str
    bits: float
    params: int
    size_bytes: int
    compression_ratio: float


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        parts: seconds of each of `PARTS`, nothing cached.
        memory_bytes: peak of the worker.
        disk_bytes: stage cache and run directory.
        variants: file sizes, by arithmetic.
        notes: what could not be estimated and why.
        student: shape of the student, None while it is known to the hub alone.
    """

    parts: Mapping[str, float]
    memory_bytes: int
    disk_bytes: int
    variants: tuple[VariantEstimate, ...]
    notes: tuple[str, ...]
    student: ModelShape | None = None

    @property
    def seconds(self) -> float:
        """From start to result."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class _Work:
    """Rows and tokens of a task."""

    train_rows: int
    eval_rows: int
    tokens_per_row: float
    max_length: int

    def batch_tokens(self, batch_size: int) -> float:
        """Return the tokens of a long batch, padding included."""
        return batch_size * min(self.max_length, PADDING * self.tokens_per_row)


def estimate(config: RunConfig, settings: Settings) -> Estimate:
    """Estimate time, memory, disk and file sizes of a run.

    Models and data on the hub are not known before they are fetched; the estimate then says so
    and leaves them out.

    Raises:
        UserError: a model or the data cannot be read.
    """
    notes: list[str] = []
    teacher = read_shape(config.teacher.model, settings)
    if teacher is None:
        notes.append(f"{config.teacher.model} is read from the hub when the run starts: not in this estimate.")
    if config.student.model == TEACHER_LAYERS:
        student = (
            teacher.with_layers(len(chosen_layers(config.student.keep_layers, teacher.layers))) if teacher else None
        )
    else:
        student = read_shape(config.student.model, settings)
        if student is None:
            notes.append(f"{config.student.model} is read from the hub when the run starts: not in this estimate.")
    work = _work(config, settings, notes)
    scored = (1 + config.distillation.altered_copies) * work.train_rows
    if config.distillation.transfer != "none":
        scored += config.distillation.transfer_rows
    forms = len(_bit_widths(config, student))
    runs = 3 + 2 * forms
    sessions = 1 if config.measurement.shared_runtime == "none" else 2
    timed = 2 * sessions * config.measurement.latency_samples  # each once untimed
    mixed = forms - len(config.quantization.bits)
    passes = len(config.quantization.bits) + MIXED_PASSES * mixed
    parts = dict.fromkeys(PARTS, 0.0)
    parts[MEASURE] = 20.0 + runs * 4 * PROCESS_START_S
    memory = RUNTIME_BYTES
    disk = 50_000_000
    if teacher is not None:
        trained = teacher.params - (teacher.embedding_params if config.teacher.freeze_embeddings else 0)
        if config.teacher.tuning == LORA:
            trained = _adapter_params(teacher, config.teacher.lora_rank)
        steps = config.teacher.epochs * work.train_rows / config.teacher.batch_size
        once = 0.0
        if config.teacher.fine_tune != "never":
            once = _training_s(teacher, trained, config.teacher.epochs * work.train_rows, steps, work, settings)
            memory = max(memory, _training_bytes(teacher, trained, work, config.teacher.batch_size))
            disk += 12 * trained
        parts[TEACHER] += config.distillation.teachers * (once + _inference_s(teacher, scored, work, settings))
        parts[MEASURE] += _inference_s(teacher, 2 * work.eval_rows + timed, work, settings)
        memory = max(memory, RUNTIME_BYTES + 4 * teacher.params)
        disk += 2 * (1 + config.distillation.teachers) * teacher.params
    if student is not None:
        steps = config.student.epochs * work.train_rows / config.student.batch_size
        rows = config.student.epochs * work.train_rows
        trained = student.params
        if config.student.tuning == LORA:
            trained = _adapter_params(student, config.student.lora_rank)
        parts[STUDENTS] += 2 * _training_s(student, trained, rows, steps, work, settings)
        rate = registry.get("quantizer", config.quantization.quantizer).facts.get(SECONDS, QUANTIZE_S_PER_PARAM)
        parts[QUANTIZE] += 2 * passes * student.linear_params * float(rate)
        tuned_tokens = config.quantization.block_steps * CALIBRATION_ROWS * work.tokens_per_row
        parts[QUANTIZE] += 2 * forms * 6 * student.linear_params * tuned_tokens / _training_flops(settings)
        if steps := config.quantization.output_steps:
            batch_size = config.student.batch_size
            once = _training_s(student, student.params, steps * batch_size, steps, work, settings)
            parts[QUANTIZE] += 2 * forms * once
            # Besides what training takes: where weights stand on their grid, what is used of that, and the codes.
            memory = max(memory, 12 * student.params + _training_bytes(student, student.params, work, batch_size))
        parts[MEASURE] += _inference_s(student, runs * work.eval_rows + (runs - 1) * timed, work, settings)
        memory = max(memory, _training_bytes(student, trained, work, config.student.batch_size))
        disk += student.params * (12 + 4 * forms)
    if teacher is not None and student is not None and needs_features(config):
        plan = feature_plan(config, teacher.layers, student.layers)
        per_row = len(plan.teacher_layers) * teacher.hidden + plan.attention * work.tokens_per_row**2
        disk += int(2 * per_row * scored)
        parts[TEACHER] += _inference_s(teacher, scored, work, settings)
    return Estimate(parts, int(memory), int(disk), _variants(config, teacher, student), tuple(notes), student)


def _training_s(shape: ModelShape, trained: int, rows: float, steps: float, work: _Work, settings: Settings) -> float:
    flops = 6 * shape.linear_params * rows * work.tokens_per_row
    return flops / _training_flops(settings) + steps * 28 * trained / OPTIMIZER_BYTES_PER_S


def _training_flops(settings: Settings) -> float:
    return TRAINING_FLOPS_PER_CORE[multiplies_bf16()] * settings.training_threads


def _training_bytes(shape: ModelShape, trained: int, work: _Work, batch_size: int) -> int:
    """Return the peak of training: weights, gradients, Adam's two moments, and what the backward pass needs kept.

    Kept per token and layer, BF16 autocast with eager attention: about 40 bytes for each of the hidden units
    (residuals and norms are FP32), 14 or 8 for each of the MLP's, and 10 for each attention weight.
    """
    tokens = work.batch_tokens(batch_size)
    length = tokens / batch_size
    per_token = 40 * shape.hidden + (14 if shape.gated else 8) * shape.intermediate + 10 * shape.heads * length
    return int(RUNTIME_BYTES + 4 * shape.params + 12 * trained + shape.layers * tokens * per_token)


def _adapter_params(shape: ModelShape, rank: int) -> int:
    """Return the weights of the adapters beside one model's linear layers; its head is not worth counting."""
    queries, keys = shape.head_dim * shape.heads, shape.head_dim * shape.kv_heads
    attention = 2 * (shape.hidden + queries) + 2 * (shape.hidden + keys)
    mlp = (3 if shape.gated else 2) * (shape.hidden + shape.intermediate)
    return shape.layers * rank * (attention + mlp)


def _inference_s(shape: ModelShape, rows: float, work: _Work, settings: Settings) -> float:
    return 2 * shape.linear_params * rows * work.tokens_per_row / (INFERENCE_FLOPS_PER_CORE * settings.threads)


def _work(config: RunConfig, settings: Settings, notes: list[str]) -> _Work:
    if config.task.source.startswith("glue:"):
        from dqf.data.glue import local_glue_folder

        if local_glue_folder(config.task.source.removeprefix("glue:"), settings) is None:
            notes.append("The task is read from the hub when the run starts: 10 000 rows of 30 tokens are assumed.")
            return _Work(config.task.train_rows or 10_000, config.task.eval_rows or 1_000, 30.0, config.task.max_length)
    task = load_task(config, settings)
    sample = task.train.take(list(range(min(500, len(task.train)))))
    words = sum(len(text.split()) for text in (*sample.texts, *(sample.pairs or ())))
    tokens = min(words / len(sample) * WORDS_TO_TOKENS + SPECIAL_TOKENS, config.task.max_length)
    return _Work(len(task.train), len(task.evaluation), tokens, config.task.max_length)


def _variants(config: RunConfig, teacher: ModelShape | None, student: ModelShape | None) -> tuple[VariantEstimate, ...]:
    if teacher is None or student is None:
        return ()
    baseline = 2 * teacher.params

    def one(variant: str, bits: float, shape: ModelShape) -> VariantEstimate:
        size = 2 * shape.params if bits == 16 else packed_bytes(config, shape, bits)
        return VariantEstimate(variant, bits, shape.params, size, baseline / size)

    rows = [one("teacher", 16, teacher), one("student-ft", 16, student), one("student-kd", 16, student)]
    for bits in _bit_widths(config, student):
        rows += [one("student-ptq", bits, student), one("student-dqf", bits, student)]
    return tuple(rows)


def _bit_widths(config: RunConfig, student: ModelShape | None) -> list[float]:
    """Return the bits of the quantized variants; the average, where they are mixed."""
    quantization = config.quantization
    widths: list[float] = list(quantization.bits)
    if quantization.average_bits:
        widths.append(quantization.average_bits)
    if quantization.size_budget_mb:
        quarters = [bits / 4 for bits in range(8, 33)]
        budget = 1e6 * quantization.size_budget_mb
        fitting = [bits for bits in quarters if student is not None and packed_bytes(config, student, bits) <= budget]
        widths.append(max(fitting, default=2.0))
    return widths


def packed_bytes(config: RunConfig, shape: ModelShape, bits: float) -> int:
    """Return the bytes of a packed file: codes, scales, zero points, and the rest in FP16."""
    quantization = config.quantization
    packed = shape.linear_params + (shape.embedding_params if quantization.embeddings else 0)
    groups = packed // (quantization.group_size or shape.hidden)
    zero_points = 0.0 if quantization.symmetric else groups * bits / 8
    scales = groups * quantization.scale_bits / 8
    if quantization.group_size and quantization.scale_bits < FP16_BITS:
        scales += 2 * packed / shape.hidden  # a row's own; some rows are longer, so this is a little too much
    return round(packed * bits / 8 + scales + zero_points) + 2 * (shape.params - packed)
