"""GGUF for decoders: the artifact's codes as Q8_0, Q4_0 or Q4_1 blocks of 32 weights.

    Q8_0  FP16 d, 32 x int8 q        q * d          carries codes whose distance from the zero point fits int8
    Q4_0  FP16 d, 32 x 4 bits q      (q - 8) * d    carries symmetric codes of up to 4 bits
    Q4_1  FP16 d, FP16 m, 4 bits q   q * d + m      carries codes of up to 4 bits; m = -zero_point * d is rounded

GGUF has no classification head that llama.cpp's decoders accept, so the head lies beside it, in
`head.safetensors`.

Reference: ggml's `block_q8_0`, `block_q4_0` and `block_q4_1`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.artifacts import Artifact
from dqf.exporting.outline import Outline
from dqf.fields import setting
from dqf.methods.exporters._files import Written, transformers_loading, write_config, write_safetensors
from dqf.methods.exporters._folding import fold_input_scales
from dqf.methods.exporters._gguf_metadata import ARCHITECTURES, write_metadata
from dqf.methods.exporters._weights import F32, U8, Coded, Weights, half, read_weights
from dqf.registry import register

FILE = "model.gguf"
HEAD = "head.safetensors"
BLOCK = 32
LOADING = f"""config = AutoConfig.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(
    folder, gguf_file="{FILE}", config=config, dtype=torch.float32
).eval()
missing, unexpected = model.load_state_dict(load_file(f"{{folder}}/{HEAD}"), strict=False)
assert not unexpected"""


@dataclass(frozen=True)
class GGUFConfig:
    """Settings of the GGUF exporter."""

    type: str = setting(
        "auto",
        "GGUF type",
        "How weights are stored; auto takes the smallest type that carries the codes over.",
        choices=("auto", "Q8_0", "Q4_0", "Q4_1"),
        flag="--gguf-type",
    )


def refuse(artifact: Outline, options: GGUFConfig) -> str:
    """Return why an artifact cannot become a GGUF file, empty if it can."""
    kind = artifact.architecture
    if kind not in ARCHITECTURES:
        return (
            f"a GGUF file must hold a decoder that transformers reads back ({', '.join(ARCHITECTURES)}): this variant "
            f"is {kind}; export as onnx-4bit, onnx-8bit or fp16-safetensors."
        )
    chosen = _type_of(artifact, options)
    widest = max((one.bits for one in artifact.packed.values()), default=16)
    if chosen != "Q8_0" and widest > 4:
        return (
            f"{chosen} holds codes of up to 4 bits: this variant has {widest} bits; choose --gguf-type Q8_0, or a "
            "4-bit variant."
        )
    if chosen == "Q4_0" and not all(one.symmetric for one in artifact.packed.values()):
        return "Q4_0 has no zero points: this variant is asymmetric; choose --gguf-type Q4_1."
    for name, one in artifact.packed.items():
        if one.shape[1] % BLOCK == 0 and (one.group_size or one.shape[1]) % BLOCK and chosen != "Q8_0":
            return (
                f"{chosen} has one scale for {BLOCK} weights: {name} has groups of {one.group_size}; quantize with a "
                f"group size that is a multiple of {BLOCK}, or choose --gguf-type Q8_0."
            )
    return ""


def _type_of(artifact: Outline, options: GGUFConfig) -> str:
    """Return the type `auto` stands for."""
    if options.type != "auto":
        return options.type
    widths = [one.bits for one in artifact.packed.values()]
    if not widths or max(widths) > 4:
        return "Q8_0"
    return "Q4_0" if all(one.symmetric for one in artifact.packed.values()) else "Q4_1"


@register(
    "exporter",
    "gguf",
    title="GGUF",
    summary="Carries a decoder's codes over into GGUF blocks (Q8_0, Q4_0 or Q4_1).",
    config=GGUFConfig,
    needs=("torch", "transformers", "gguf"),
    consumer="transformers (gguf_file)",
    library="gguf",
    tolerance=0.03,
    refuse=refuse,
)
def write(artifact: Artifact, folder: Path, options: GGUFConfig) -> Written:
    """Write a decoder as GGUF.

    Args:
        artifact: a Llama-like classifier, FP16 or packed.
        folder: receives `model.gguf`, `head.safetensors` and `config.json`.
        options: type of the blocks.

    Returns:
        How to load it, and what was rounded.
    """
    import gguf

    chosen = _type_of(artifact, options)
    weights = read_weights(artifact)
    dense = fold_input_scales(weights)
    if dense:
        weights.notes.append(f"The input scales of {len(dense)} layers do not fold: they were multiplied out.")
    head = {name: half(weights.multiply_out(name)) for name in _names(weights) if name.startswith("score.")}
    write_safetensors(folder / HEAD, head)
    for name in head:
        del weights.dense[name]
    writer = gguf.GGUFWriter(folder / FILE, ARCHITECTURES[weights.config["model_type"]])
    write_metadata(writer, artifact, weights.config, chosen, weights.notes)
    _add_tensors(writer, weights, chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_config(artifact, folder, {"dtype": "float16"})
    weights.notes.append(f"The classification head is FP16, in {HEAD}: GGUF decoders have none.")
    imports = (
        "import torch\nfrom safetensors.torch import load_file\n"
        "from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast"
    )
    return Written(transformers_loading(artifact, imports, LOADING), tuple(weights.notes))


def _names(weights: Weights) -> list[str]:
    return [*weights.coded, *weights.dense]


def _add_tensors(writer: Any, weights: Weights, chosen: str) -> None:
    """Add all tensors under their GGUF names; note which were rounded anew."""
    import gguf

    kind, eight = gguf.GGMLQuantizationType[chosen], gguf.GGMLQuantizationType.Q8_0
    architecture = getattr(gguf.MODEL_ARCH, ARCHITECTURES[weights.config["model_type"]].upper())
    names = gguf.get_tensor_name_map(architecture, int(weights.config["num_hidden_layers"]))
    heads = int(weights.config["num_attention_heads"])
    kv_heads = int(weights.config.get("num_key_value_heads") or heads)
    rounded: list[str] = []
    carried = 0
    for name in sorted(_names(weights)):
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise RuntimeError(f"{name} has no place in a GGUF file")
        order = _row_order(name, weights, heads, kv_heads) if architecture == gguf.MODEL_ARCH.LLAMA else None
        coded = weights.coded.get(name)
        blocks = None
        if coded is not None:
            if order is not None:
                coded = Coded(coded.codes[order], coded.scale[order], coded.zero_point[order], coded.bits)
            blocks = carry(coded, chosen)
        if blocks is not None:
            carried += 1
            writer.add_tensor(target, blocks, raw_dtype=kind)
            continue
        matrix = coded.dense() if coded is not None else weights.dense[name]
        if coded is None and order is not None:
            matrix = matrix[order]
        if matrix.ndim == 1:
            writer.add_tensor(target, matrix.astype(np.float32))
        elif matrix.shape[1] % BLOCK:
            writer.add_tensor(target, half(matrix))
        else:
            rounded.append(name)
            writer.add_tensor(target, gguf.quants.quantize(matrix, eight), raw_dtype=eight)
    if rounded:
        weights.notes.append(
            f"{len(rounded)} of {len(rounded) + carried} weights have no codes that {chosen} can hold: rounded to Q8_0."
        )
    if chosen == "Q4_1":
        weights.notes.append("Q4_1 stores a minimum instead of a zero point; it is rounded to FP16.")


def _row_order(name: str, weights: Weights, heads: int, kv_heads: int) -> NDArray[np.int64] | None:
    """Return the order of a query or key projection's rows: GGUF interleaves the halves of rotary pairs."""
    match = re.search(r"self_attn\.([qk])_proj\.", name)
    if match is None:
        return None
    rows = (weights.coded[name].codes if name in weights.coded else weights.dense[name]).shape[0]
    count = heads if match[1] == "q" else kv_heads
    return np.arange(rows).reshape(count, 2, -1).swapaxes(1, 2).reshape(-1)


def carry(coded: Coded, chosen: str) -> U8 | None:
    """Return the blocks that hold a weight's codes, None where the type cannot hold them.

    Args:
        coded: the weight.
        chosen: Q8_0, Q4_0 or Q4_1.

    Returns:
        uint8 (rows, columns / 32 * bytes of a block).
    """
    rows, columns = coded.codes.shape
    if columns % BLOCK or coded.width % BLOCK or coded.input_scale is not None:
        return None
    coded.regroup(BLOCK)
    scale = half(coded.scale)[:, :, None].view(np.uint8)
    if chosen == "Q8_0":
        shifted = coded.shifted()
        if shifted.min() < -128 or shifted.max() > 127:
            return None
        parts = [scale, shifted.astype(np.int8).view(np.uint8)]
    elif chosen == "Q4_0":
        shifted = coded.shifted() + np.int16(8)
        if shifted.min() < 0 or shifted.max() > 15:
            return None
        parts = [scale, _nibbles(shifted.astype(np.uint8))]
    else:
        if coded.bits > 4:
            return None
        least: F32 = -coded.zero_point.astype(np.float32) * half(coded.scale).astype(np.float32)
        codes = coded.codes.reshape(rows, -1, BLOCK)
        parts = [scale, half(least)[:, :, None].view(np.uint8), _nibbles(codes)]
    return np.ascontiguousarray(np.concatenate(parts, axis=2).reshape(rows, -1))


def _nibbles(codes: U8) -> U8:
    """Return (.., 32) codes as (.., 16) bytes: byte i holds codes i and i + 16."""
    packed: U8 = codes[..., :16] | (codes[..., 16:] << np.uint8(4))
    return packed
