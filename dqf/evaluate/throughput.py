"""From the timed batches of a variant to its throughput and energy."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dqf.evaluate.energy import energy_per_1000


def throughput_figures(
    batches: pd.DataFrame, device: str, watts_per_core: float, watts_per_gpu: float
) -> dict[str, Any]:
    """Return throughput and energy of one variant, as docs/result-schema.md names them.

    Args:
        batches: its rows of `throughput.parquet`: `batch`, `passes`, `ms`, `cpu_s`, `energy_j`, `energy_source`.
        device: `cpu` or `cuda`.
        watts_per_core: assumed power of a busy core, for an estimate.
        watts_per_gpu: assumed power of a busy GPU, likewise.
    """
    examples = batches["batch"] * batches["passes"]
    measured = batches["energy_j"].notna().all()
    on_gpu = device.startswith("cuda")
    return {
        "throughput_per_s": float((1000 * examples / batches["ms"]).median()),
        "throughput_batch": int(batches["batch"].iloc[0]),
        "throughput_n": len(batches),
        **energy_per_1000(
            float(examples.sum()),
            float(batches["energy_j"].sum()) if measured else None,
            str(batches["energy_source"].iloc[0]) if measured else None,
            float(batches["ms"].sum() / 1e3 if on_gpu else batches["cpu_s"].sum()),
            device,
            watts_per_gpu if on_gpu else watts_per_core,
        ),
    }
