"""GPTQ checkpoint: the artifact's own codes in the layout that AutoGPTQ introduced.

    qweight int32 (columns * bits / 32, rows), qzeros int32 (groups, rows * bits / 32),
    scales FP16 (groups, rows), g_idx int32 (columns,)

Codes run down the columns of qweight as one little-endian bit stream, which is how artifacts pack
rows; so nothing is rounded. Version 1 stores zero points minus one; where one is 0 version 2 is written.

Reference: Frantar et al. (2023), "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers"; layout as in GPTQModel's `PackableQuantLinear`.
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
from dqf.methods.exporters._weights import U8, Coded, block_parts, half
from dqf.quant.packing import pack
from dqf.registry import NoOptions, register


def refuse(artifact: Outline, options: NoOptions) -> str:
    """Return why an artifact cannot become a GPTQ checkpoint, empty if it can."""
    return refuse_blocks(artifact, "a GPTQ checkpoint", (2, 3, 4, 8), 32)


@register(
    "exporter",
    "gptq",
    title="GPTQ checkpoint",
    summary="Carries the integer codes of the blocks over into a GPTQ checkpoint for transformers and GPTQModel.",
    needs=("torch", "transformers", "gptqmodel", "optimum"),
    consumer="transformers with GPTQModel",
    library="transformers",
    tolerance=0.05,
    refuse=refuse,
)
def write(artifact: Artifact, folder: Path, options: NoOptions) -> Written:
    """Write an artifact as a GPTQ checkpoint.

    Args:
        artifact: packed, of one bit-width.
        folder: receives `model.safetensors` and `config.json`.
        options: none.

    Returns:
        How to load it, and what was rounded.
    """
    weights, width, _ = read_blocks(artifact, "a GPTQ checkpoint", alike=True)
    first = next(iter(weights.coded.values()))
    older = all(int(one.zero_point.min()) > 0 for one in weights.coded.values())
    tensors: dict[str, NDArray[Any]] = {name: half(one) for name, one in weights.dense.items()}
    for name, one in weights.coded.items():
        stem = name.removesuffix("weight")
        tensors |= {f"{stem}{part}": tensor for part, tensor in layer_tensors(one, older).items()}
    write_safetensors(folder / WEIGHTS, tensors)
    stacks, layers = zip(*(block_parts(name) for name in weights.coded), strict=True)
    quantization = {
        "quant_method": "gptq",
        "bits": first.bits,
        "group_size": width,
        "sym": all(one.symmetric for one in weights.coded.values()),
        "desc_act": False,
        "checkpoint_format": "gptq" if older else "gptq_v2",
        "block_name_to_quantize": stacks[0],
        "modules_in_block_to_quantize": [sorted(set(layers))],
        "meta": {"quantizer": ["dqf-studio"]},
    }
    write_config(artifact, folder, {"quantization_config": quantization, "dtype": "float16"})
    if not older:
        weights.notes.append("Some zero points are 0, so the checkpoint is version 2 (`gptq_v2`).")
    return Written(transformers_loading(artifact, IMPORTS, LOADING), tuple(weights.notes))


def layer_tensors(coded: Coded, older: bool) -> dict[str, NDArray[Any]]:
    """Return the tensors of one layer.

    Args:
        coded: the weight.
        older: store zero points minus one (version 1).
    """
    columns = coded.codes.shape[1]
    zero_point = (coded.zero_point - np.uint8(1)) if older else coded.zero_point
    return {
        "qweight": _packed_rows(coded.codes, coded.bits).T,
        "qzeros": _packed_rows(np.ascontiguousarray(zero_point.T), coded.bits),
        "scales": half(coded.scale).T,
        "g_idx": (np.arange(columns) // coded.width).astype(np.int32),
    }


def _packed_rows(codes: U8, bits: int) -> NDArray[np.int32]:
    """Return each row as one little-endian bit stream in int32 words."""
    return pack(codes, bits).view(np.int32).reshape(codes.shape[0], -1)
