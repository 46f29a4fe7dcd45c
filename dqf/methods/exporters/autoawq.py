"""AutoAWQ checkpoint (GEMM layout): the artifact's own 4-bit codes, scales and zero points.

    qweight int32 (columns, rows / 8), qzeros int32 (groups, rows / 8), scales FP16 (groups, rows)

Eight rows share a word; nibble i holds row ORDER[i] of them.

Reference: Lin et al. (2024), "AWQ: Activation-aware Weight Quantization for On-Device LLM Compression
and Acceleration"; layout as in AutoAWQ's `WQLinear_GEMM`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.artifacts import Artifact
from dqf.exporting.outline import Outline
from dqf.methods.exporters._blocks import IMPORTS, LOADING, read_blocks, refuse_blocks
from dqf.methods.exporters._files import WEIGHTS, Written, transformers_loading, write_config, write_safetensors
from dqf.methods.exporters._weights import U8, Coded, half, in_blocks
from dqf.registry import NoOptions, register

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def refuse(artifact: Outline, options: NoOptions) -> str:
    """Return why an artifact cannot become an AutoAWQ checkpoint, empty if it can."""
    return refuse_blocks(artifact, "an AutoAWQ checkpoint", (4,), 32)


@register(
    "exporter",
    "autoawq",
    title="AutoAWQ checkpoint",
    summary="Carries the 4-bit codes of the blocks over into an AutoAWQ (GEMM) checkpoint.",
    needs=("torch", "transformers", "accelerate", "gptqmodel"),
    consumer="transformers with GPTQModel",
    library="transformers",
    tolerance=0.05,
    refuse=refuse,
)
def write(artifact: Artifact, folder: Path, options: NoOptions) -> Written:
    """Write an artifact as an AutoAWQ checkpoint.

    Args:
        artifact: packed, four bits.
        folder: receives `model.safetensors` and `config.json`.
        options: none.

    Returns:
        How to load it, and what was rounded.
    """
    weights, width, dense = read_blocks(artifact, "an AutoAWQ checkpoint")
    tensors: dict[str, NDArray[Any]] = {name: half(one) for name, one in weights.dense.items()}
    for name, one in weights.coded.items():
        stem = name.removesuffix("weight")
        tensors |= {f"{stem}{part}": tensor for part, tensor in layer_tensors(one).items()}
    write_safetensors(folder / WEIGHTS, tensors)
    outside = sorted(name for name, one in weights.dense.items() if one.ndim == 2 and name not in in_blocks([name]))
    quantization = {
        "quant_method": "awq",
        "version": "gemm",
        "bits": 4,
        "group_size": width,
        "zero_point": True,
        "modules_to_not_convert": [name.removesuffix(".weight") for name in [*outside, *dense]],
    }
    write_config(artifact, folder, {"quantization_config": quantization, "dtype": "float16"})
    return Written(transformers_loading(artifact, IMPORTS, LOADING), tuple(weights.notes))


def layer_tensors(coded: Coded) -> dict[str, NDArray[Any]]:
    """Return the tensors of one layer."""
    return {
        "qweight": _packed_words(np.ascontiguousarray(coded.codes.T)),
        "qzeros": _packed_words(np.ascontiguousarray(coded.zero_point.T)),
        "scales": half(coded.scale).T,
    }


def _packed_words(codes: U8) -> NDArray[np.int32]:
    """Return (n, rows) codes as int32 (n, rows / 8) words."""
    eights = codes.reshape(codes.shape[0], -1, 8).astype(np.uint32)
    words = np.zeros(eights.shape[:2], dtype=np.uint32)
    for nibble, row in enumerate(ORDER):
        words |= eights[:, :, row] << np.uint32(4 * nibble)
    return words.view(np.int32)
