"""What a verdict is, and the rule by which an effect is claimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dqf.evaluate.evidence import bits_number
from dqf.evaluate.macro import Estimate

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
ALL_BITS = "all"
ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """What the data say about a hypothesis at one bit-width, or over all of them (`bits` is `all`).

    Attributes:
        effect, low, high: size of the effect and its 95 % interval, in `unit`.
        p_value, p_holm: two-sided, before and after correction.
        sentence: verdict and figures for people.
        details: further figures behind it, as JSON can hold them.
    """

    hypothesis: str
    bits: str
    verdict: str
    effect: float
    low: float
    high: float
    p_value: float
    p_holm: float
    unit: str
    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)


def claim_of(effect: Estimate, p_holm: float) -> int:
    """Return 1 or -1 if an effect is claimed to lie above or below 0, else 0."""
    if p_holm >= ALPHA or effect.low <= 0 <= effect.high:
        return 0
    return 1 if effect.low > 0 else -1


def conjunction(verdicts: Sequence[str]) -> str:
    """Return refuted if one is, supported if all are, else undecided."""
    if REFUTED in verdicts:
        return REFUTED
    return SUPPORTED if all(one == SUPPORTED for one in verdicts) else UNDECIDED


def geometric_mean(values: Mapping[str, float]) -> float:
    """Return the geometric mean; 0 of nothing."""
    return float(np.exp(np.mean(np.log(list(values.values()))))) if values else 0.0


def bits_name(bits: str) -> str:
    """Return `4 bits`, `mixed 3.5 bits`."""
    return f"{'mixed ' if bits.startswith('mixed') else ''}{bits_number(bits):g} bits"


def points(effect: Estimate) -> str:
    """Return an effect in percentage points with its interval."""
    return f"{100 * effect.value:+.2f} points [{100 * effect.low:+.2f}, {100 * effect.high:+.2f}]"


def in_words(effect: Estimate, more: str, less: str) -> str:
    """Return an effect in words, `0.33 points [-0.73, 1.35] less`: its interval counts in the word's direction."""
    word, sign = (more, 1) if effect.value >= 0 else (less, -1)
    low, high = sorted(sign * one for one in (effect.low, effect.high))
    return f"{100 * abs(effect.value):.2f} points [{100 * low:.2f}, {100 * high:.2f}] {word}"


def shown_p(p_value: float) -> str:
    """Return a p-value as people read it."""
    return f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.1g}"
