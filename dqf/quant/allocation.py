"""Mixed precision: measure how much each layer's rounding moves the logits, then spend bits where it matters.

Every layer is quantized alone at each bit-width while the rest stays in full precision; the KL divergence
between the logits before and after is its sensitivity. Under the assumption that these add up, the best
plan for a budget has one price per byte: each layer takes the bit-width whose divergence plus price times
bytes is least, and the price is the lowest one that fits the budget.

Reference: Everett (1963), "Generalized Lagrange Multiplier Method for Solving Problems of Optimum
Allocation of Resources", main theorem.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dqf.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dqf.progress import Reporter
    from dqf.quant.qparams import QuantizedWeight

BITS = (8, 4, 3, 2)
SAMPLES = 32
"""Calibration texts the sensitivities are measured on."""

Costs = Mapping[str, Mapping[int, float]]
"""By layer and bits."""


def measure_sensitivity(
    model: nn.Module,
    candidates: Mapping[int, Mapping[str, QuantizedWeight]],
    calibration: Sequence[dict[str, Tensor]],
    reporter: Reporter,
) -> dict[str, dict[int, float]]:
    """Return the mean KL divergence of the logits when one layer alone is quantized, by layer and bits.

    For one output (regression) it is the mean squared change instead.

    Args:
        model: full precision, in evaluation mode; left as it was.
        candidates: by bits and layer, what the quantizer that will be used makes of its weight.
        calibration: batches of model inputs; `SAMPLES` texts at most, spread over them, are used.
        reporter: receives layers done.
    """
    import torch

    from dqf.models.device import autocast

    batches = _first(calibration, SAMPLES)

    @torch.inference_mode()
    def logits() -> Tensor:
        with autocast(next(model.parameters()).device):
            return torch.cat([_flat(model(**batch).logits.float(), batch["attention_mask"]) for batch in batches])

    reference = logits()
    found: dict[str, dict[int, float]] = {}
    names = list(candidates[BITS[0]])
    for at, name in enumerate(names):
        reporter.progress(at, len(names))
        weight = model.get_submodule(name).get_parameter("weight")
        kept = weight.detach().clone()
        found[name] = {}
        for bits in BITS:
            with torch.no_grad():
                weight.copy_(candidates[bits][name].dequantize())
            found[name][bits] = _divergence(reference, logits())
        with torch.no_grad():
            weight.copy_(kept)
        # More bits never hurt: what says otherwise is noise of the measurement.
        for more, fewer in itertools.pairwise(BITS):
            found[name][fewer] = max(found[name][fewer], found[name][more])
    return found


def allocate(sensitivity: Costs, sizes: Costs, budget: float) -> dict[str, int]:
    """Return bits by layer with the least summed sensitivity whose summed size is within the budget.

    Args:
        sensitivity: by layer and bits.
        sizes: by layer and bits, in the unit of the budget.
        budget: most the chosen sizes may sum to.

    Raises:
        UserError: even the fewest bits everywhere do not fit.
    """

    def plan(price: float) -> dict[str, int]:
        return {
            name: min(BITS, key=lambda bits: (sensitivity[name][bits] + price * sizes[name][bits], bits))
            for name in sensitivity
        }

    def total(chosen: Mapping[str, int]) -> float:
        return sum(sizes[name][bits] for name, bits in chosen.items())

    smallest = {name: min(BITS) for name in sensitivity}
    if total(smallest) > budget:
        raise UserError(
            f"the mixed-precision budget must allow {min(BITS)} bits everywhere ({total(smallest):.4g}): "
            f"got {budget:.4g}; raise it."
        )
    best = plan(0.0)
    if total(best) > budget:
        low, high = 0.0, 1e-12
        while total(plan(high)) > budget and high < 1e12:
            high *= 10
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if total(plan(middle)) > budget else (low, middle)
        best = plan(high) if total(plan(high)) <= budget else smallest
    return _spend_the_rest(best, sensitivity, sizes, budget)


def _spend_the_rest(chosen: dict[str, int], sensitivity: Costs, sizes: Costs, budget: float) -> dict[str, int]:
    """Raise single layers while the budget lasts, the most gain per byte first."""
    left = budget - sum(sizes[name][bits] for name, bits in chosen.items())
    while True:
        best: tuple[float, str, int] | None = None
        for name, bits in chosen.items():
            for more in BITS:
                extra = sizes[name][more] - sizes[name][bits]
                gain = sensitivity[name][bits] - sensitivity[name][more]
                if more > bits and 0 < extra <= left and gain > 0 and (best is None or gain / extra > best[0]):
                    best = gain / extra, name, more
        if best is None:
            return chosen
        _, name, more = best
        left -= sizes[name][more] - sizes[name][chosen[name]]
        chosen[name] = more


def _first(calibration: Sequence[dict[str, Tensor]], samples: int) -> list[dict[str, Tensor]]:
    """Return texts spread over all batches (they are sorted by length), `samples` of them at most."""
    total = sum(len(batch["attention_mask"]) for batch in calibration)
    every = -(-total // samples)
    return [{name: tensor[::every] for name, tensor in batch.items()} for batch in calibration]


def _flat(logits: Tensor, mask: Tensor) -> Tensor:
    """Return (predictions, outputs): one row per text, or per real token of a language model."""
    return logits[mask.bool()] if logits.dim() == 3 else logits


def _divergence(reference: Tensor, logits: Tensor) -> float:
    from torch.nn.functional import log_softmax

    if reference.shape[1] == 1:
        return float((reference - logits).square().mean())
    expected, given = log_softmax(reference, -1), log_softmax(logits, -1)
    return max(0.0, float((expected.exp() * (expected - given)).sum(-1).mean()))
