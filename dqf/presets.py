"""Named starting points for a launch. A preset is a partial config; what it leaves out is default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dqf.config import RunConfig, merge
from dqf.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Preset:
    """A named partial config with a title and one sentence for people."""

    name: str
    title: str
    summary: str
    config: Mapping[str, Any]


PRESETS: tuple[Preset, ...] = (
    Preset(
        "starter",
        "Starter: MiniLM-L6 learns from SmolLM2-135M",
        "Classifies BBC headlines into 5 topics; needs no model hub and about 7 minutes on 2 cores.",
        {},
    ),
    Preset(
        "starter-cut",
        "Starter cut: 10 of the teacher's 30 layers",
        "The student keeps evenly spaced layers of the fine-tuned teacher: same architecture, fewer layers.",
        {
            "student": {
                "model": "teacher-layers",
                "keep_layers": "10",
                "epochs": 3.0,
                "learning_rate": 1e-4,
                "batch_size": 16,
            }
        },
    ),
)


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets."""
    return tuple(preset.name for preset in PRESETS)


def preset_config(name: str, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the config of a preset with `changes` laid over it.

    Raises:
        UserError: no preset has that name.
        ConfigError: the changes are not valid.
    """
    for preset in PRESETS:
        if preset.name == name:
            return RunConfig.from_dict(merge(merge({"preset": name}, preset.config), changes or {}))
    raise UserError(f"a preset must be a known one: got {name!r}{did_you_mean(name, preset_names())}")
