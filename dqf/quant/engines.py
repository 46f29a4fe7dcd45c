"""Quantizers from outside, that work on a whole decoder at once instead of on one weight.

An engine is a quantizer registered with the facts `engine` (the module it needs) and `architectures` (the
`model_type`s it knows). It is called with a whole model and returns an `EngineResult`; embeddings, heads and
receipts stay ours (`dqf.quant.model`), so that ours and theirs are measured the same way.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dqf.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.qparams import QuantizedWeight
    from dqf.registry import Entry

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "stablelm", "starcoder2")
"""`model_type`s that both libraries describe and transformers has classifiers for."""
LONGEST_BLOCK = 512
"""Tokens of one calibration row that an engine is given."""


@dataclass(frozen=True)
class EngineResult:
    """What an engine made of a model.

    Attributes:
        weights: quantized layers by parameter name.
        replaced: full-precision tensors it changed on the way, by parameter name: norms, and weights scaled
            before rounding. The model computes the same with all of them in place.
    """

    weights: dict[str, QuantizedWeight]
    replaced: dict[str, Tensor] = field(default_factory=dict)


def refuse(entry: Entry, architecture: str, group_size: int) -> str:
    """Return why an engine cannot quantize such a model, empty if it can or if this is none.

    Args:
        entry: a registered quantizer.
        architecture: `model_type` of the model.
        group_size: wanted.
    """
    module = entry.facts.get("engine")
    if not module:
        return ""
    known = entry.facts["architectures"]
    ours = entry.facts["instead"]
    if architecture not in known:
        return (
            f"{entry.title} quantizes decoders it knows ({', '.join(known)}): got {architecture}; use `{ours}`, "
            "which works on any model."
        )
    if importlib.util.find_spec(module) is None:
        return f"{entry.title} needs the package {module}: it is not installed; pip install {module}, or use `{ours}`."
    if group_size == 0:
        return f"{entry.title} needs a group size: got 0; use 32, 64 or 128."
    return ""


def token_blocks(calibration: Sequence[Mapping[str, Tensor]], longest: int = LONGEST_BLOCK) -> list[list[int]]:
    """Return the calibration tokens without padding, run together and cut into rows of equal length.

    Args:
        calibration: batches with `input_ids` and `attention_mask`, int64 (rows, length).
        longest: most tokens of a row.

    Raises:
        UserError: there are none.
    """
    stream = [
        int(token)
        for batch in calibration
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        for token in ids[mask.bool()].tolist()
    ]
    length = min(longest, len(stream))
    if not length:
        raise UserError("an engine needs calibration tokens: got none; raise `calibration_samples`.")
    return [stream[start : start + length] for start in range(0, len(stream) - length + 1, length)]
