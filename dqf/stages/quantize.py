"""Quantize: a student's weights become packed codes, with a receipt for every layer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dqf import registry
from dqf.artifacts import save_quantized
from dqf.data.calibration import SHORTEST_TOKENS, calibration_examples, calibration_fingerprint
from dqf.data.encode import Encoder, length_buckets
from dqf.errors import UserError
from dqf.models.loading import Classifier, load_folder
from dqf.quant.allocation import BITS, allocate, measure_sensitivity
from dqf.quant.model import Method, Scope, quantizable, quantize_model
from dqf.quant.qparams import Granularity
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.training import to_inputs

VERSION = 4
PACKED = "packed.json"
RECEIPT = "receipt.json"
CALIBRATION_BATCH = 32


def quantize_student(context: Context, student: Output, bits: float, mixed: bool, stage: str) -> Output:
    """Return a folder with packed `model.safetensors`, `packed.json`, `receipt.json`, config and tokenizer.

    Args:
        context: of the run.
        student: model folder, FP16.
        bits: per weight; on average, where `mixed`.
        mixed: give each layer its own bits, by measured sensitivity.
        stage: id of this stage.
    """
    config = context.config.quantization
    quantizer = registry.get("quantizer", config.quantizer)
    granularity = Granularity(4 if mixed else int(bits), config.group_size, config.symmetric)
    scope = Scope(embeddings=config.embeddings, head=config.head)

    def work(folder: Path) -> dict[str, Any]:
        classifier = load_folder(student.folder)
        nn.Module.to(classifier.model, context.device).eval()
        # Also for methods that need none: receipts compare outputs, and INT8 runtimes need input ranges.
        calibration = _calibration(context, classifier)
        plan = _plan(context, classifier, granularity, scope, calibration, bits) if mixed else None
        weights, receipts = quantize_model(
            classifier.model,
            Method(quantizer, context.config.quantizer_options(), granularity, plan),
            calibration,
            context.reporter,
            scope,
        )
        packed = save_quantized(folder, classifier.model.state_dict(), weights)
        (folder / PACKED).write_text(
            json.dumps({name: one.to_dict() for name, one in packed.items()}), encoding="utf-8"
        )
        (folder / RECEIPT).write_text(json.dumps([one.to_dict() for one in receipts], indent=1), encoding="utf-8")
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(student.folder / name, folder / name)
        fallbacks = sum(bool(one.fallback) for one in receipts if one.kind == "linear")
        average = sum(one.bits * one.params for one in receipts) / sum(one.params for one in receipts)
        if average > bits:
            raise UserError(f"weights may have {bits:g} bits on average: the written file has {average:.3f}.")
        return {
            "layers": len(receipts),
            "average_bits": average,
            "fallbacks": fallbacks,
            "calibration_tokens": max((one.calibration_tokens for one in receipts), default=0),
        }

    # Of the other bit-widths in the launch nothing depends; of an own file its content decides, not its name.
    facts = {
        **{name: value for name, value in dataclasses.asdict(config).items() if name != "average_bits"},
        "bits": bits,
        "mixed": mixed,
        "calibration_sha256": calibration_fingerprint(config, context.settings),
        **context.data_facts(),
        **context.numerics(),
    }
    return context.cache.run(stage, version=VERSION, config=facts, inputs=(student,), work=work)


def _plan(
    context: Context,
    classifier: Classifier,
    granularity: Granularity,
    scope: Scope,
    calibration: list[dict[str, torch.Tensor]],
    average_bits: float,
) -> dict[str, int]:
    """Return bits by layer whose average over all quantized weights is at most `average_bits`."""
    names = quantizable(classifier.model, scope)
    sensitivity = measure_sensitivity(classifier.model, names, granularity, calibration, context.reporter)
    params = {name: classifier.model.get_submodule(name).get_parameter("weight").numel() for name in sensitivity}
    sizes = {name: {bits: float(bits * count) for bits in BITS} for name, count in params.items()}
    return allocate(sensitivity, sizes, average_bits * sum(params.values()))


def _calibration(context: Context, classifier: Classifier) -> list[dict[str, torch.Tensor]]:
    """Return batches of calibration texts; reported rows are never among them.

    Raises:
        UserError: there is no text, or none is long enough.
    """
    config = context.config.quantization
    length = config.calibration_length or context.config.task.max_length
    examples = calibration_examples(config, context.task, context.settings)
    encoded = Encoder(classifier.tokenizer_json, length)(examples)
    longest = max(len(ids) for ids in encoded.ids)
    if longest < SHORTEST_TOKENS:
        raise UserError(
            f"a calibration sample must have at least {SHORTEST_TOKENS} tokens: the longest of "
            f"{len(encoded)} has {longest}; use longer texts."
        )
    return [
        to_inputs(classifier.model, encoded.batch(batch, classifier.pad_id), context.device)
        for batch in length_buckets(encoded, CALIBRATION_BATCH)
    ]
