"""Settings that teacher and student share: all weights, or adapters."""

from __future__ import annotations

from typing import Any

from dqf.fields import setting

FULL, LORA = "full", "lora"


def tuning_setting(who: str) -> Any:
    """Return the field that says which weights are trained; `who` is teacher or student, for its flag."""
    return setting(
        FULL,
        "Tuning",
        "full trains the weights themselves; lora trains low-rank adapters beside the blocks' linear layers, and the "
        "head, and merges them; embeddings and norms then stay as they are.",
        choices=(FULL, LORA),
        flag=f"--{who}-tuning",
        advanced=True,
    )


def lora_rank_setting(who: str) -> Any:
    """Return the field that says the rank of the adapters; `who` is teacher or student, for its flag."""
    return setting(
        16, "LoRA rank", "Of the adapters.", minimum=1, maximum=1024, flag=f"--{who}-lora-rank", advanced=True
    )


def lora_alpha_setting(who: str) -> Any:
    """Return the field that says the scale of the adapters; `who` is teacher or student, for its flag."""
    return setting(
        32,
        "LoRA alpha",
        "The adapters' output is scaled by alpha / rank.",
        minimum=1,
        maximum=10_000,
        flag=f"--{who}-lora-alpha",
        advanced=True,
    )


def lora_dropout_setting(who: str) -> Any:
    """Return the field that says the dropout of the adapters; `who` is teacher or student, for its flag."""
    return setting(
        0.0,
        "LoRA dropout",
        "Share of the adapters' inputs dropped in training.",
        minimum=0.0,
        maximum=0.9,
        flag=f"--{who}-lora-dropout",
        advanced=True,
    )
