"""What GPTQ and AutoAWQ checkpoints share: codes of one width and group size for linear layers in the blocks."""

from __future__ import annotations

from collections.abc import Sequence

from dqf.artifacts import Artifact
from dqf.errors import UserError
from dqf.exporting.outline import Outline
from dqf.methods.exporters._folding import fold_input_scales, refuse_unfoldable
from dqf.methods.exporters._weights import Weights, block_parts, common_width, in_blocks, read_weights

WIDTHS = (16, 32, 64, 128)
"""Group sizes that the consumers' kernels know."""
IMPORTS = "import torch\nfrom transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast"
LOADING = """model = AutoModelForSequenceClassification.from_pretrained(
    folder, dtype=torch.bfloat16, device_map="cpu"
).eval()"""


def refuse_blocks(artifact: Outline, form: str, bits: Sequence[int], rows: int) -> str:
    """Return why an artifact's blocks cannot take this form, empty if they can.

    Args:
        artifact: what to export.
        form: name people read.
        bits: widths the format knows.
        rows: what a layer's number of outputs must be a multiple of.
    """
    layers = {name: artifact.packed[name] for name in in_blocks(artifact.packed)}
    if not layers:
        return f"{form} must have integer codes to carry: this variant is FP16; choose a quantized one."
    found = sorted({one.bits for one in layers.values()})
    if len(found) > 1:
        return (
            f"{form} has one bit-width for all layers: this variant mixes {', '.join(map(str, found))} bits; "
            "export as onnx-4bit."
        )
    if found[0] not in bits:
        return (
            f"{form} holds {' or '.join(map(str, bits))} bits: this variant has {found[0]}; "
            f"export as {'onnx-8bit' if found[0] == 8 else 'onnx-4bit'}."
        )
    for name, one in layers.items():
        if one.shape[0] % rows or one.shape[1] % 32:
            return (
                f"{form} packs layers whose outputs are a multiple of {rows} and inputs of 32: {name} is "
                f"{one.shape[0]} x {one.shape[1]}; export as onnx-4bit."
            )
    widths = [one.group_size or one.shape[1] for one in layers.values()]
    if not common_width(widths, WIDTHS):
        return (
            f"{form} has groups of {', '.join(map(str, WIDTHS))} weights: this variant has groups of "
            f"{min(widths)}; quantize with one of those."
        )
    return refuse_unfoldable(artifact, form)


def read_blocks(artifact: Artifact, form: str, alike: bool = False) -> tuple[Weights, int, list[str]]:
    """Read an artifact for a format that has codes for linear layers in the blocks only.

    Input scales are folded, groups are cut to one common size, and all other weights become dense.

    Args:
        artifact: one that `refuse_blocks` does not refuse.
        form: name people read.
        alike: the format says for all blocks at once which layers have codes, so that a layer that becomes
            dense in one block does so in every block.

    Returns:
        The weights, the group size, and the block layers that had to become dense.

    Raises:
        UserError: fewer than half of the blocks' weights keep their codes.
    """
    weights = read_weights(artifact)
    blocks = set(in_blocks(weights.coded))
    scaled = any(weights.coded[name].input_scale is not None for name in blocks)
    dense = [name for name in fold_input_scales(weights) if name in blocks]
    if alike:
        places = {block_parts(name)[1] for name in dense}
        dense = sorted(name for name in blocks if block_parts(name)[1] in places)
        for name in dense:
            weights.multiply_out(name)
    lost = sum(weights.dense[name].size for name in dense)
    if 2 * lost > sum(artifact.packed[name].shape[0] * artifact.packed[name].shape[1] for name in blocks):
        raise UserError(
            f"{form} must keep the codes of most layers: the input scales of {len(dense)} of {len(blocks)} do not "
            "fold into the layers before them; export as onnx-4bit, or quantize with gptq."
        )
    others = [name for name in weights.coded if name not in blocks]
    for name in others:
        weights.multiply_out(name)
    width = common_width([one.width for one in weights.coded.values()], WIDTHS)
    for one in weights.coded.values():
        one.regroup(width)
    if scaled:
        weights.notes.append("Input scales were folded into norms and group scales, which are rounded to FP16.")
    if dense:
        weights.notes.append(
            f"{len(dense)} of {len(blocks)} block layers are FP16: their input scale does not fold "
            f"({', '.join(sorted({name.split('.', 3)[-1] for name in dense}))})."
        )
    if others:
        weights.notes.append(f"Embeddings and head are FP16 ({len(others)} weights): {form} has no codes for them.")
    return weights, width, dense
