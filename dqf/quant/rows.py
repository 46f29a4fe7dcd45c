"""Rows of a weight are quantized independently of each other: do it on all cores at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.qparams import QuantizedWeight

SMALLEST = 64
"""Fewer rows than this are not worth a thread."""


def by_rows(weight: Tensor, quantize: Callable[[Tensor], QuantizedWeight]) -> QuantizedWeight:
    """Quantize a weight in as many stretches of rows as there are threads.

    Column-by-column methods take thousands of steps too small for several threads to share; whole
    stretches of rows are not. Results depend on the number of threads in the last bits only.

    Args:
        weight: float (rows, columns).
        quantize: returns what some of the rows become; must not depend on the others.

    Returns:
        All rows together.
    """
    import torch

    threads = torch.get_num_threads()
    parts = min(threads, weight.shape[0] // SMALLEST)
    if parts < 2 or weight.device.type != "cpu":
        return quantize(weight)
    inference = torch.is_inference_mode_enabled()

    def work(part: Tensor) -> QuantizedWeight:
        torch.set_num_threads(1)
        with torch.inference_mode(inference):
            return quantize(part)

    try:
        with ThreadPoolExecutor(parts) as pool:
            done = list(pool.map(work, weight.tensor_split(parts)))
    finally:
        torch.set_num_threads(threads)
    return _joined(done)


def _joined(parts: list[QuantizedWeight]) -> QuantizedWeight:
    from dataclasses import replace

    import torch

    zero_points = [one.zero_point for one in parts if one.zero_point is not None]
    return replace(
        parts[0],
        codes=torch.cat([one.codes for one in parts]),
        scale=torch.cat([one.scale for one in parts]),
        zero_point=torch.cat(zero_points) if zero_points else None,
    )
