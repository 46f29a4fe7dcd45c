"""Quantize: a student's weights become packed codes, with a receipt for every layer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from dqf import registry
from dqf.artifacts import WEIGHTS, Packed, save_quantized
from dqf.data.calibration import calibration_fingerprint, encoded_calibration
from dqf.data.encode import Encoded, length_buckets
from dqf.environment import versions
from dqf.errors import UserError
from dqf.models.loading import load_folder
from dqf.models.streaming import StreamedModel
from dqf.quant.allocation import BITS, allocate, measure_sensitivity
from dqf.quant.model import Scope, quantize_model
from dqf.quant.output_tuning import rows_for, tune_outputs, tuned_receipts
from dqf.quant.qparams import Granularity, QuantizedWeight
from dqf.quant.receipts import LayerReceipt
from dqf.quant.scales import FP16_BITS
from dqf.quant.stored import StoredWeights
from dqf.quant.work import Method
from dqf.sections import QuantizationConfig
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.training import to_inputs

VERSION = 8
PACKED = "packed.json"
RECEIPT = "receipt.json"
CHECKPOINT = "checkpoint.pt"
TRIED = "tried"
CALIBRATION_BATCH = 32
BUDGETS = ("bits", "average_bits", "size_budget_mb")
HEADER_BYTES = 120
"""Of a safetensors file for each tensor: name, type, shape, place."""


@dataclasses.dataclass(frozen=True)
class Form:
    """How many bits a variant has.

    Attributes:
        bits: per weight, on average where `mixed`; 0 where `budget_bytes` decides.
        mixed: each layer has its own, by measured sensitivity.
        budget_bytes: most bytes of the weight file; 0 for no such limit.
    """

    bits: float
    mixed: bool = False
    budget_bytes: int = 0

    @property
    def label(self) -> str:
        """How it is told in names: `4bit`, `mixed3.5bit`, `mixed10MB`."""
        if self.budget_bytes:
            return f"mixed{self.budget_bytes / 1e6:g}MB"
        return f"{'mixed' if self.mixed else ''}{self.bits:g}bit"

    @property
    def title(self) -> str:
        """How people read it: `4-bit`, `mixed 3.5-bit`, `mixed, 10 MB`."""
        if self.budget_bytes:
            return f"mixed, {self.budget_bytes / 1e6:g} MB"
        return f"{'mixed ' * self.mixed}{self.bits:g}-bit"


def quantize_student(context: Context, student: Output, form: Form, stage: str) -> Output:
    """Return a folder with packed `model.safetensors`, `packed.json`, `receipt.json`, config and tokenizer.

    Args:
        context: of the run.
        student: model folder, FP16.
        form: bits per weight, or what mixed precision has to meet.
        stage: id of this stage.
    """
    config = context.config.quantization
    quantizer = registry.get("quantizer", config.quantizer)
    granularity = Granularity(
        4 if form.mixed else int(form.bits), config.group_size, config.symmetric, config.scale_bits
    )
    scope = Scope(embeddings=config.embeddings, head=config.head)

    def work(folder: Path) -> dict[str, Any]:
        # Also for methods that need none: receipts compare outputs, and INT8 runtimes need input ranges.
        source = StreamedModel(student.folder, context.device)
        calibration = _calibration(context, source.model, student.folder / "tokenizer.json")
        plan = _plan(context, student.folder, granularity, scope, calibration, form, folder) if form.mixed else None
        method = Method(quantizer, context.config.quantizer_options(), granularity, plan, config.block_steps)
        weights, receipts, rest = _quantize(context, source, method, calibration, scope)
        if config.output_steps:
            weights, receipts = _tune_outputs(context, student, folder, weights, rest, receipts, calibration)
        packed = save_quantized(folder, rest, weights)
        (folder / PACKED).write_text(
            json.dumps({name: one.to_dict() for name, one in packed.items()}), encoding="utf-8"
        )
        (folder / RECEIPT).write_text(json.dumps([one.to_dict() for one in receipts], indent=1), encoding="utf-8")
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(student.folder / name, folder / name)
        fallbacks = sum(bool(one.fallback) for one in receipts if one.kind == "linear")
        average = sum(one.bits * one.params for one in receipts) / sum(one.params for one in receipts)
        _check_budget(form, average, (folder / WEIGHTS).stat().st_size)
        return {
            "layers": len(receipts),
            "average_bits": average,
            "fallbacks": fallbacks,
            "calibration_tokens": max((one.calibration_tokens for one in receipts), default=0),
        }

    # Of the other bit-widths in the launch nothing depends; of an own file its content decides, not its name.
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in BUDGETS}
    # Keys, and so cached files, stay as they were before these settings were there.
    for name, before in (("block_steps", 0), ("output_steps", 0), ("scale_bits", FP16_BITS)):
        if settings[name] == before:
            del settings[name]
    if settings["calibration"].startswith("file:"):
        settings["calibration"] = "file"
    if quantizer.facts.get("per_row"):
        settings["final"] = True  # before, most layers were rounded in groups instead
    if quantizer.facts.get("engine"):
        settings["engine"] = versions().get(config.quantizer, "")  # another version makes other codes
    facts = {
        **settings,
        **dataclasses.asdict(form),
        "calibration_sha256": calibration_fingerprint(config, context.settings),
        **context.data_facts(),
        **context.numerics(training=True),
    }
    return context.cache.run(stage, version=VERSION, config=facts, inputs=(student,), work=work)


def _tune_outputs(
    context: Context,
    student: Output,
    folder: Path,
    weights: Mapping[str, QuantizedWeight],
    rest: Mapping[str, torch.Tensor],
    receipts: Sequence[LayerReceipt],
    calibration: list[dict[str, torch.Tensor]],
) -> tuple[dict[str, QuantizedWeight], list[LayerReceipt]]:
    """Return weights and receipts after all layers were tuned together, on more texts of the calibration's source."""
    config, batch_size = context.config.quantization, context.config.student.batch_size
    source = dataclasses.replace(config, calibration_samples=rows_for(config.output_steps, batch_size))
    texts = _encoded(context, student.folder / "tokenizer.json", source)
    context.reporter.message(f"Tuning the outputs for {config.output_steps} steps on {len(texts)} texts.")
    classifier = load_folder(student.folder)
    originals = {name: classifier.model.get_parameter(name).detach().clone() for name in weights}
    engine = registry.get("quantizer", config.quantizer).facts.get("engine")
    tuned = tune_outputs(
        classifier.model,
        weights,
        rest,
        texts,
        classifier.pad_id,
        config.output_steps,
        batch_size,
        context.device,
        folder / CHECKPOINT,
        context.reporter,
    )
    (folder / CHECKPOINT).unlink(missing_ok=True)
    if tuned.after < tuned.before:
        what = f"fell from {tuned.before:.3g} to {tuned.after:.3g}"
    else:
        what = "did not fall: the quantizer's codes are kept"
    context.reporter.message(f"The answers' distance to full precision, on {tuned.rows} texts held back, {what}.")

    def original(name: str) -> torch.Tensor:
        return originals[name].to(context.device)

    made = tuned_receipts(receipts, tuned, classifier.model, None if engine else original, calibration)
    return tuned.weights, made


def _check_budget(form: Form, average: float, size_bytes: int) -> None:
    """Hold the written file against what was asked for.

    Raises:
        UserError: it is too large.
    """
    if form.budget_bytes and size_bytes > form.budget_bytes:
        raise UserError(
            f"the weight file must fit {form.budget_bytes / 1e6:g} MB: it has {size_bytes / 1e6:.3f} MB; "
            "raise the budget."
        )
    if form.bits and average > form.bits:
        raise UserError(f"weights may have {form.bits:g} bits on average: the written file has {average:.3f}.")


def _quantize(
    context: Context,
    source: StreamedModel,
    method: Method,
    calibration: list[dict[str, torch.Tensor]],
    scope: Scope,
) -> tuple[dict[str, QuantizedWeight], list[LayerReceipt], Mapping[str, torch.Tensor]]:
    """Return quantized weights, receipts, and all other tensors; block by block, but for engines."""
    if method.entry.facts.get("engine"):  # wants the whole model
        model = _load(source.folder, context.device)
        weights, receipts = quantize_model(model, method, calibration, context.reporter, scope)
        return weights, receipts, model.state_dict()
    weights, receipts = quantize_model(source.model, method, calibration, context.reporter, scope, source)
    return weights, receipts, {name: source.tensor(name) for name in source.names() if name not in weights}


def _load(folder: Path, device: torch.device) -> PreTrainedModel:
    """Return a whole model, FP32, in evaluation mode."""
    model = load_folder(folder).model
    nn.Module.to(model, device).eval()
    return model


def _plan(
    context: Context,
    folder: Path,
    granularity: Granularity,
    scope: Scope,
    calibration: list[dict[str, torch.Tensor]],
    form: Form,
    scratch: Path,
) -> dict[str, int]:
    """Return bits by layer, chosen by how much each layer hurts when this very quantizer has worked on it.

    What it makes of the layers at each bit-width waits in a folder in `scratch`: all of it is as large as the model.
    """
    quantizer = registry.get("quantizer", context.config.quantization.quantizer)
    options = context.config.quantizer_options()
    candidates: dict[int, StoredWeights] = {}
    shutil.rmtree(scratch / TRIED, ignore_errors=True)  # of an attempt that was killed
    for bits in BITS:
        context.reporter.message(f"Quantizing at {bits} bits, to see which layers need how many.")
        how = Method(quantizer, options, dataclasses.replace(granularity, bits=bits))
        weights, *_ = _quantize(context, StreamedModel(folder, context.device), how, calibration, scope)
        named = {name.removesuffix(".weight"): one for name, one in weights.items()}
        candidates[bits] = StoredWeights(scratch / TRIED / str(bits), named)
    model = _load(folder, context.device)
    sensitivity = measure_sensitivity(model, candidates, calibration, context.reporter)
    if form.budget_bytes:
        sizes = {name: {bits: float(_stored_bytes(candidates[bits][name])) for bits in BITS} for name in sensitivity}
        budget = float(form.budget_bytes - _other_bytes(model, sizes))
    else:
        params = {name: candidates[BITS[0]][name].codes.numel() for name in sensitivity}
        sizes = {name: {bits: float(bits * count) for bits in BITS} for name, count in params.items()}
        budget = form.bits * sum(params.values())
    shutil.rmtree(scratch / TRIED)
    return allocate(sensitivity, sizes, budget)


def _stored_bytes(weight: QuantizedWeight) -> int:
    """Return the most bytes a quantized weight takes in the file: as if it had input ranges for INT8."""
    rows, columns = weight.codes.shape
    how = weight.granularity
    has_scale = weight.input_scale is not None
    packed = Packed(
        (rows, columns),
        how.bits,
        how.group_size,
        how.symmetric,
        input_scale=has_scale,
        int8_scale=True,
        scale_bits=weight.scale_bits,
    )
    return packed.size_bytes


def _other_bytes(model: nn.Module, quantized: Mapping[str, Any]) -> int:
    """Return the bytes of everything that stays FP16, and of the file's header, generously."""
    state = model.state_dict()
    rest = sum(2 * tensor.numel() for name, tensor in state.items() if name.removesuffix(".weight") not in quantized)
    return rest + HEADER_BYTES * (len(state) + 5 * len(quantized))


def _calibration(context: Context, model: PreTrainedModel, tokenizer: Path) -> list[dict[str, torch.Tensor]]:
    """Return batches of calibration texts (`_encoded`)."""
    encoded = _encoded(context, tokenizer, context.config.quantization)
    return [
        to_inputs(model, encoded.batch(batch, int(model.config.pad_token_id)), context.device)
        for batch in length_buckets(encoded, CALIBRATION_BATCH)
    ]


def _encoded(context: Context, tokenizer: Path, config: QuantizationConfig) -> Encoded:
    """Return the token ids of calibration texts; reported rows are never among them."""
    length = config.calibration_length or context.config.task.max_length
    return encoded_calibration(config, context.task, context.settings, tokenizer, length)
