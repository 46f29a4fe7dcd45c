"""Quantize: a student's weights become packed codes, with a receipt for every layer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dqf import registry
from dqf.artifacts import Packed, packed_tensors, save_weights
from dqf.data.encode import Encoder, length_buckets
from dqf.models.loading import Classifier, load_folder
from dqf.quant.model import quantize_model
from dqf.quant.qparams import Granularity
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.training import to_inputs

VERSION = 1
PACKED = "packed.json"
RECEIPT = "receipt.json"
CALIBRATION_BATCH = 32


def quantize_student(context: Context, student: Output, bits: int, stage: str) -> Output:
    """Return a folder with packed `model.safetensors`, `packed.json`, `receipt.json`, config and tokenizer.

    Args:
        context: of the run.
        student: model folder, FP16.
        bits: per weight.
        stage: id of this stage.
    """
    config = context.config.quantization
    quantizer = registry.get("quantizer", config.quantizer)
    granularity = Granularity(bits, config.group_size, config.symmetric)

    def work(folder: Path) -> dict[str, Any]:
        classifier = load_folder(student.folder)
        nn.Module.to(classifier.model, context.device).eval()
        calibration = _calibration(context, classifier) if quantizer.facts.get("needs_calibration") else []
        weights, receipts = quantize_model(
            classifier.model,
            quantizer,
            context.config.quantizer_options(),
            granularity,
            calibration,
            context.reporter,
            embeddings=config.embeddings,
        )
        tensors: dict[str, Any] = {}
        for name, one in weights.items():
            zero_point = None if one.zero_point is None else one.zero_point.cpu().numpy()
            tensors |= packed_tensors(name, one.codes.cpu().numpy(), one.scale.cpu().numpy(), zero_point, bits)
        for name, weight in classifier.model.state_dict().items():
            if name not in weights:
                tensors[name] = weight.cpu().numpy().astype(np.float16)
        save_weights(folder, tensors)
        packed = {
            name: dataclasses.asdict(
                Packed((one.codes.shape[0], one.codes.shape[1]), bits, config.group_size, config.symmetric)
            )
            for name, one in weights.items()
        }
        (folder / PACKED).write_text(json.dumps(packed), encoding="utf-8")
        (folder / RECEIPT).write_text(json.dumps([one.to_dict() for one in receipts], indent=1), encoding="utf-8")
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(student.folder / name, folder / name)
        fallbacks = sum(bool(one.fallback) for one in receipts if one.kind == "linear")
        return {
            "layers": len(receipts),
            "fallbacks": fallbacks,
            "calibration_tokens": max((one.calibration_tokens for one in receipts), default=0),
        }

    facts = {
        **dataclasses.asdict(config),
        "bits": bits,
        "seed": context.config.seed,
        **context.data_facts(),
        **context.numerics(),
    }
    return context.cache.run(stage, version=VERSION, config=facts, inputs=(student,), work=work)


def _calibration(context: Context, classifier: Classifier) -> list[dict[str, torch.Tensor]]:
    """Return batches of random training rows; reported rows are never used."""
    count = min(context.config.quantization.calibration_samples, len(context.task.train))
    rows = np.random.default_rng(context.config.seed).permutation(len(context.task.train))[:count]
    encoded = Encoder(classifier.tokenizer_json, context.config.task.max_length)(context.task.train.take(rows))
    return [
        to_inputs(classifier.model, encoded.batch(batch, classifier.pad_id), context.device)
        for batch in length_buckets(encoded, CALIBRATION_BATCH)
    ]
