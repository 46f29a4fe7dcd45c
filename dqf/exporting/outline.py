"""Which forms variants will be able to take, known before anything is trained."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dqf import registry
from dqf.artifacts import Packed
from dqf.config import RunConfig
from dqf.fields import setting_of
from dqf.models.catalog import ModelShape
from dqf.sections import BITS

MIXED = 0
"""In place of bits: each layer has its own."""


class Outline(Protocol):
    """What exporters look at when they are asked whether a variant can take their form; an artifact is one."""

    @property
    def packed(self) -> Mapping[str, Packed]:
        """Quantized weights by parameter name."""

    @property
    def architecture(self) -> str:
        """The `model_type`."""


@dataclass(frozen=True)
class Planned:
    """The outline of a variant that does not exist yet."""

    packed: Mapping[str, Packed]
    architecture: str


@dataclass(frozen=True)
class Outlook:
    """Whether variants of some bits can take a form.

    Attributes:
        form: title of the exporter.
        bits: of the variants, 16 for those in FP16, or `MIXED`.
        refused: why not with any of the form's settings, empty if they can.
    """

    form: str
    bits: int
    refused: str


def outlook(config: RunConfig, student: ModelShape) -> tuple[Outlook, ...]:
    """Return what every exporter will say to the students of a run.

    Args:
        config: of the run.
        student: shape of its student.
    """
    found = []
    mixed = config.quantization.average_bits or config.quantization.size_budget_mb
    for entry in registry.entries("exporter"):
        for bits in (16, *config.quantization.bits, *([MIXED] if mixed else [])):
            refused = refusal(planned(config, student, bits), entry)
            found.append(Outlook(entry.title, bits, refused))
    return tuple(found)


def planned(config: RunConfig, student: ModelShape, bits: int) -> Planned:
    """Return the outline of a student of `bits` bits, from the linear layers of one block.

    Which layer gets which bits in mixed precision is measured during the run; here its layers take turns.
    """
    quantization = config.quantization
    queries, keys = student.heads * student.head_dim, student.kv_heads * student.head_dim
    layers = {
        "q_proj": (queries, student.hidden),
        "k_proj": (keys, student.hidden),
        "v_proj": (keys, student.hidden),
        "o_proj": (student.hidden, queries),
        "up_proj": (student.intermediate, student.hidden),
        "down_proj": (student.hidden, student.intermediate),
    }
    scaled = bool(registry.get("quantizer", quantization.quantizer).facts.get("scales_inputs"))
    widths = itertools.cycle(BITS if bits == MIXED else [bits])
    packed = {
        f"layers.0.{name}.weight": Packed(
            shape, width, quantization.group_size, quantization.symmetric, scaled, scale_bits=quantization.scale_bits
        )
        for (name, shape), width in zip(layers.items(), widths, strict=False)
        if width < 16
    }
    return Planned(packed, student.architecture)


def refusal(outline: Outline, entry: registry.Entry) -> str:
    """Return why a variant cannot take a form with any of the form's settings, empty if it can with some."""
    fields = [(one.name, setting_of(one), one.default) for one in dataclasses.fields(entry.config)]
    choices = [(facts.choices if facts else ()) or (default,) for _, facts, default in fields]
    refused = [
        str(entry.facts["refuse"](outline, entry.config(**dict(zip((one[0] for one in fields), values, strict=True)))))
        for values in itertools.product(*choices)
    ]
    return refused[0] if all(refused) else ""
