"""A classifier without its weights, for runtimes and exports that bring them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification


def empty_classifier(config: Any) -> nn.Module:
    """Return a classifier in FP32 with new weights; with fused attention, where its architecture has that."""
    try:
        fused: nn.Module = AutoModelForSequenceClassification.from_config(
            config, attn_implementation="sdpa", dtype=torch.float32
        )
    except ValueError:  # how transformers says that it has none
        plain: nn.Module = AutoModelForSequenceClassification.from_config(
            config, attn_implementation="eager", dtype=torch.float32
        )
        return plain
    return fused
