"""Fold the vectors that divide a layer's input into what stands before it, for formats that have no such vector.

A layer with an `input_scale` s computes (x / s) C^T. If x comes from an RMS norm, s divides the norm's
weight instead; if each x_i is proportional to one row of an earlier linear layer, s_i divides that row.

Reference: Lin et al. (2024), "AWQ: Activation-aware Weight Quantization for On-Device LLM Compression
and Acceleration", section 4.
"""

from __future__ import annotations

import numpy as np

from dqf.exporting.outline import Outline
from dqf.methods.exporters._weights import F32, Weights, in_blocks

FOLDABLE = ("llama", "mistral", "qwen2", "qwen3")
"""Architectures whose blocks read their norms nowhere else, and gate the product that `down_proj` reads."""


def refuse_unfoldable(artifact: Outline, form: str) -> str:
    """Return why an artifact's input scales cannot be folded, empty if they can or if there are none."""
    scaled = in_blocks(name for name, packed in artifact.packed.items() if packed.input_scale)
    kind = artifact.architecture
    if not scaled or kind in FOLDABLE:
        return ""
    return (
        f"a scale on a layer's input must fold into the layer before it: {form} has no place for one, and {kind} "
        f"has {len(scaled)} layers whose input is also read elsewhere; export as onnx-4bit, or quantize with gptq."
    )


def fold_input_scales(weights: Weights) -> list[str]:
    """Fold every input scale into the norm or linear layer before it, in place.

    Where a scale cannot be folded (another reader of the same norm has another one; several query heads
    share a value head) the weight becomes a dense one.

    Returns:
        Names of the weights that became dense.
    """
    before = set(weights.coded)
    if weights.config.get("model_type") in FOLDABLE:
        for at in range(int(weights.config["num_hidden_layers"])):
            _fold_block(weights, f"model.layers.{at}")
        _fold_norm(weights, "model.norm.weight", ["score.weight"])
    for name in [name for name, one in weights.coded.items() if one.input_scale is not None]:
        weights.multiply_out(name)
    return sorted(before - set(weights.coded))


def _fold_block(weights: Weights, block: str) -> None:
    # Rows first: they are rounded to FP16 either way, and a reader of a norm may still become dense.
    _fold_rows(weights, f"{block}.mlp.up_proj", f"{block}.mlp.down_proj.weight")
    if weights.config.get("num_key_value_heads", 0) in (0, None, weights.config["num_attention_heads"]):
        _fold_rows(weights, f"{block}.self_attn.v_proj", f"{block}.self_attn.o_proj.weight")
    attention = [f"{block}.self_attn.{one}_proj.weight" for one in "qkv"]
    _fold_norm(weights, f"{block}.input_layernorm.weight", attention)
    _fold_norm(
        weights,
        f"{block}.post_attention_layernorm.weight",
        [f"{block}.mlp.{one}_proj.weight" for one in ("gate", "up")],
    )


def _fold_norm(weights: Weights, norm: str, readers: list[str]) -> None:
    """Divide a norm's weight by the scale most of its readers have; the others become dense, multiplied by it."""
    scales: dict[bytes, tuple[int, F32]] = {}
    for name in readers:
        coded = weights.coded.get(name)
        if coded is not None and coded.input_scale is not None:
            key = coded.input_scale.tobytes()
            scales[key] = (scales.get(key, (0, coded.input_scale))[0] + coded.codes.size, coded.input_scale)
    if not scales or norm not in weights.dense:
        return
    _, scale = max(scales.values(), key=lambda pair: pair[0])
    weights.dense[norm] = weights.dense[norm] / scale
    for name in readers:
        coded = weights.coded.get(name)
        if coded is not None and coded.input_scale is not None and np.array_equal(coded.input_scale, scale):
            coded.input_scale = None
        else:
            weights.dense[name] = weights.multiply_out(name) * scale


def _fold_rows(weights: Weights, linear: str, reader: str) -> None:
    """Divide the rows (and bias) of a linear layer by the scale of the one layer that reads them."""
    coded = weights.coded.get(reader)
    if coded is None or coded.input_scale is None:
        return
    scale, coded.input_scale = coded.input_scale, None
    name, bias = f"{linear}.weight", f"{linear}.bias"
    if name in weights.coded:
        weights.coded[name].scale = weights.coded[name].scale / scale[:, None]
    else:
        weights.dense[name] = weights.dense[name] / scale[:, None]
    if bias in weights.dense:
        weights.dense[bias] = weights.dense[bias] / scale
