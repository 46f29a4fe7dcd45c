"""ONNX with 4-bit weights (MatMulNBits): codes, scales and zero points as they are, embeddings included."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dqf.artifacts import Artifact
from dqf.exporting.outline import Outline
from dqf.fields import setting
from dqf.methods.exporters._files import Written
from dqf.methods.exporters._onnx import write_onnx
from dqf.methods.exporters._weights import read_weights
from dqf.registry import register


@dataclass(frozen=True)
class ONNX4BitConfig:
    """Settings of the 4-bit ONNX exporter."""

    accuracy_level: int = setting(
        0,
        "Accuracy level",
        "What products compute in: 0 is FP32, 4 rounds their inputs to 8 bits, which is faster.",
        choices=(0, 4),
        flag="--onnx-accuracy-level",
        advanced=True,
    )


def refuse(artifact: Outline, options: ONNX4BitConfig) -> str:
    """Return why an artifact cannot take this form, empty if it can."""
    bits = {one.bits for one in artifact.packed.values()}
    if not bits:
        return "4-bit ONNX must have integer codes to carry: this variant is FP16; choose a quantized one."
    if min(bits) == 8:
        return "4-bit ONNX holds codes of up to 4 bits: this variant has 8; export as onnx-8bit."
    return ""


@register(
    "exporter",
    "onnx-4bit",
    title="ONNX, 4-bit weights",
    summary="Carries 4-, 3- and 2-bit codes over into MatMulNBits and GatherBlockQuantized for ONNX Runtime.",
    config=ONNX4BitConfig,
    needs=("torch", "transformers", "onnx", "onnxscript", "onnxruntime"),
    consumer="ONNX Runtime",
    library="onnx",
    tolerance=0.05,
    refuse=refuse,
)
def write(artifact: Artifact, folder: Path, options: ONNX4BitConfig) -> Written:
    """Write an artifact as ONNX with packed weights; layers of 8 bits keep them.

    Args:
        artifact: packed.
        folder: receives `model.onnx`.
        options: what to compute in.

    Returns:
        How to load it, and what was rounded.
    """
    return write_onnx(artifact, read_weights(artifact), folder, options.accuracy_level)
