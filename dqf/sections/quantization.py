"""The section `quantization`: how the students' weights are packed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dqf.fields import setting
from dqf.quant.scales import SCALE_BITS

BITS = (8, 4, 3, 2)


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
