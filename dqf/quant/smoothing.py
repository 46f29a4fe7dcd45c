"""Prepare a layer for INT8 arithmetic: move the difficulty of its inputs into its weights.

A layer computes x W^T. With a vector s, (x / s) (W diag(s))^T is the same, and where x / s stays within
[-1, 1] it can be rounded to 8 bits with one fixed step.

Reference: Xiao et al. (2023), "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large
Language Models", equation 4.
Deviation: the migration strength is chosen per layer, by the rounding error it leads to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.calibration import LayerInputs

STRENGTHS = (0.0, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LEVELS = 127
"""Steps between 0 and the largest input or weight."""


WORST_ERROR = 0.04
"""Expected output error of ordinary tokens above which a layer had better not be computed in INT8."""


def int8_scale_if_fit(weight: Tensor, inputs: LayerInputs) -> Tensor | None:
    """Return `search_int8_scale`'s vector; None where massive activations leave too few steps for other tokens.

    Args:
        weight: float32 (rows, columns), as it will be multiplied.
        inputs: statistics of the layer's calibration inputs.
    """
    scale = search_int8_scale(weight, inputs)
    return scale if ordinary_int8_error(weight, inputs, scale) <= WORST_ERROR**2 else None


def ordinary_int8_error(weight: Tensor, inputs: LayerInputs, scale: Tensor) -> float:
    """Return the expected relative squared output error of INT8 on tokens without massive activations.

    Their outputs' size is estimated from the diagonal of their second moments.

    Args:
        weight: float32 (rows, columns).
        inputs: statistics of the layer's inputs.
        scale: positive (columns,), by which inputs are divided.
    """
    power = inputs.ordinary_squares / max(1, inputs.ordinary_tokens)
    signal = float((weight.square().sum(0) * power).sum())
    return _noise(weight, power, scale) / max(signal, 1e-30)


def search_int8_scale(weight: Tensor, inputs: LayerInputs, strengths: tuple[float, ...] = STRENGTHS) -> Tensor:
    """Return the vector that inputs are divided by before they are rounded to INT8.

    Args:
        weight: float32 (rows, columns), as it will be multiplied.
        inputs: statistics of the layer's calibration inputs.
        strengths: migration strengths tried.

    Returns:
        float16 (columns,), positive; calibration inputs divided by it lie within [-1, 1].
    """
    best, least = inputs.largest.half(), float("inf")
    largest = inputs.largest.clamp(min=1e-5)
    columns = weight.abs().amax(0).clamp(min=1e-5)
    for strength in strengths:
        scale = (largest**strength / columns ** (1 - strength)).clamp(min=1e-6)
        scale = scale / scale.mean()
        scale = scale * (largest / scale).max()  # now the largest |x / s| is 1
        # Rounded up to FP16, so that no calibration input is clipped.
        scale = (scale.clamp(min=1e-4, max=6e4) * (1 + 2**-10)).half()
        error = _noise(weight, inputs.power, scale)  # the signal is the same for all
        if error < least:
            best, least = scale, error
    return best


def int8_error(weight: Tensor, inputs: LayerInputs, scale: Tensor) -> float:
    """Return the expected relative squared output error of computing a layer in INT8.

    Rounding errors are taken as uniform and independent: step^2 / 12 for each input and each weight.

    Args:
        weight: float32 (rows, columns).
        inputs: statistics of the layer's inputs.
        scale: positive (columns,), by which inputs are divided.
    """
    whole = ((weight @ inputs.hessian) * weight).sum() / max(1, inputs.tokens)
    return _noise(weight, inputs.power, scale) / max(float(whole), 1e-30)


def _noise(weight: Tensor, power: Tensor, scale: Tensor) -> float:
    """Return the expected squared output error per input vector; `power` is the inputs' mean x^2 (columns,)."""
    s = scale.float()
    scaled = weight * s
    of_inputs = (1 / LEVELS) ** 2 / 12 * scaled.square().sum()
    steps = scaled.abs().amax(1) / LEVELS
    of_weights = steps.square().sum() / 12 * (power / s.square()).sum()
    return float(of_inputs + of_weights)
