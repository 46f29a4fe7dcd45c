"""How long a text a model can take."""

from __future__ import annotations

from dqf.models.catalog import ModelShape

ROWS_NOT_FOR_TEXTS = {
    "albert": 0, "bert": 0, "big_bird": 0, "convbert": 0, "distilbert": 0, "electra": 0, "ernie": 0, "flaubert": 0,
    "gpt2": 0, "gpt_bigcode": 0, "gpt_neo": 0, "layoutlm": 0, "megatron-bert": 0, "mobilebert": 0, "opt": 0,
    "rembert": 0, "squeezebert": 0, "xlm": 0,
    "camembert": 2, "data2vec-text": 2, "ibert": 2, "longformer": 2, "luke": 2, "mpnet": 2, "roberta": 2,
    "xlm-roberta": 2, "xlm-roberta-xl": 2, "xmod": 2,
}  # fmt: skip
"""Architectures with one learned row per position, and how many of the rows stand for padding and the like."""


def length_error(source: str, shape: ModelShape, max_length: int) -> str:
    """Return why texts of this length do not fit into a model's table of positions, empty if they do.

    Args:
        source: what the user called the model.
        shape: its own.
        max_length: tokens.
    """
    if not shape.positions or shape.architecture not in ROWS_NOT_FOR_TEXTS:
        return ""
    most = shape.positions - ROWS_NOT_FOR_TEXTS[shape.architecture]
    return (
        f"must fit the models: {source} takes {most} tokens, got {max_length}; lower it." if max_length > most else ""
    )
