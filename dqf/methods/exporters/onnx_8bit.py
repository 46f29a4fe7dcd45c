"""ONNX with 8-bit weights: the artifact's 8-bit codes as they are, or FP16 weights rounded to 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dqf.artifacts import Artifact
from dqf.exporting.outline import Outline
from dqf.methods.exporters._files import Written
from dqf.methods.exporters._onnx import write_onnx
from dqf.methods.exporters._onnx_graph import WIDTHS
from dqf.methods.exporters._weights import F32, Coded, common_width, half, read_weights
from dqf.registry import NoOptions, register

LEVELS = 127


def refuse(artifact: Outline, options: NoOptions) -> str:
    """Return why an artifact cannot take this form, empty if it can."""
    narrow = min((one.bits for one in artifact.packed.values()), default=8)
    if narrow < 8:
        return f"8-bit ONNX holds 8-bit codes: this variant has {narrow} bits already; export as onnx-4bit."
    return ""


@register(
    "exporter",
    "onnx-8bit",
    title="ONNX, 8-bit weights",
    summary="Carries 8-bit codes over into ONNX, or rounds an FP16 variant to 8 bits, for ONNX Runtime.",
    needs=("torch", "transformers", "onnx", "onnxscript", "onnxruntime"),
    consumer="ONNX Runtime",
    library="onnx",
    tolerance=0.05,
    refuse=refuse,
)
def write(artifact: Artifact, folder: Path, options: NoOptions) -> Written:
    """Write an artifact as ONNX with 8-bit weights, computing in FP32.

    Args:
        artifact: FP16, or packed with 8 bits.
        folder: receives `model.onnx`.
        options: none.

    Returns:
        How to load it, and what was rounded.
    """
    weights = read_weights(artifact)
    if not weights.coded:
        fitting = [n for n, one in weights.dense.items() if one.ndim == 2 and common_width([one.shape[1]], WIDTHS)]
        for name in fitting:
            weights.coded[name] = round_to_8_bits(weights.dense.pop(name))
        weights.notes.append(f"This variant is FP16: {len(fitting)} weights were rounded to the nearest of 8 bits.")
    return write_onnx(artifact, weights, folder, 0)


def round_to_8_bits(weight: F32) -> Coded:
    """Round a (rows, columns) weight to symmetric 8-bit codes, in groups along its columns."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, -1, common_width([columns], WIDTHS))
    smallest = float(np.finfo(np.float16).smallest_normal)
    scale = half(np.maximum(np.abs(groups).max(-1) / LEVELS, smallest)).astype(np.float32)
    codes = np.clip(np.rint(groups / scale[:, :, None]), -LEVELS, LEVELS) + 128
    middle = np.full(scale.shape, 128, dtype=np.uint8)
    return Coded(codes.astype(np.uint8).reshape(rows, columns), scale, middle, 8)
