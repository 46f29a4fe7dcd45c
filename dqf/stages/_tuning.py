"""Full fine-tuning or adapters: what a stage does before and after training, and what goes into its key."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedModel

from dqf.environment import versions
from dqf.models.lora import add_adapters
from dqf.sections import LORA, StudentConfig, TeacherConfig

_OWN = ("tuning", "lora_rank", "lora_alpha", "lora_dropout")


def prepare(model: PreTrainedModel, config: TeacherConfig | StudentConfig, seed: int) -> Callable[[], None]:
    """Make a model ready to be trained as the config wants it; return what to call when it is trained."""
    if config.tuning != LORA:
        return lambda: None
    return add_adapters(model, config.lora_rank, config.lora_alpha, config.lora_dropout, seed)


def key_facts(config: TeacherConfig | StudentConfig) -> dict[str, Any]:
    """Return the settings that decide the weights; those of adapters and of hidden labels only where there are some.

    Models without keep the keys, and so the cached hours, they had before there were such settings.
    """
    facts = dataclasses.asdict(config)
    if not facts.get("label_rows"):
        facts.pop("label_rows", None)
    if config.tuning == LORA:
        return {**facts, "peft": versions().get("peft", "")}
    return {name: value for name, value in facts.items() if name not in _OWN}
