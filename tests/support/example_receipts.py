"""Made-up receipts with the keys, names and magnitudes of real ones; never show them outside tests."""

from __future__ import annotations

from typing import Any

import numpy as np

LOOKED_UP = "looked up, not multiplied: rounding to nearest is already the least-error choice"
BERT = [f"attention.{part}" for part in ("self.query", "self.key", "self.value", "output.dense")]
BERT += ["intermediate.dense", "output.dense"]
LLAMA = [f"self_attn.{part}_proj" for part in "qkvo"] + [f"mlp.{part}_proj" for part in ("gate", "up", "down")]


def example_receipt(
    bits: int = 4, *, llama: bool = False, quantizer: str = "gptq", group_size: int = 32, seed: int = 0
) -> list[dict[str, Any]]:
    """Return the rows of a receipt: embeddings rounded by design, and one layer on which `quantizer` lost.

    Args:
        bits: of every layer.
        llama: ten layers with Llama's names in place of six with BERT's.
        quantizer: `rtn` or one that is calibrated.
        group_size: of every layer.
        seed: of the figures.
    """
    rng = np.random.default_rng(seed)
    tables = (
        ["model.embed_tokens"] if llama else [f"bert.embeddings.{kind}_embeddings" for kind in ("word", "position")]
    )
    block, layers, roles = ("model.layers", 10, LLAMA) if llama else ("bert.encoder.layer", 6, BERT)
    linear = [f"{block}.{depth}.{role}" for depth in range(layers) for role in roles]
    linear += ["score"] if llama else ["bert.pooler.dense", "classifier"]
    lost = linear[len(roles) + 1]
    calibrated = quantizer != "rtn"
    typical = 0.6 * 4.0 ** -(bits - 1)
    rows = []
    for name in (*tables, *linear):
        table = name in tables
        error_rtn = typical * float(rng.lognormal(0, 0.6))
        kept = not calibrated or (not table and name != lost)
        why = LOOKED_UP if table else f"{quantizer} had the larger error ({1.3 * error_rtn:.3g})"
        rows.append(
            {
                "name": f"{name}.weight",
                "kind": "embedding" if table else "linear",
                "method": quantizer if kept else "rtn",
                "bits": bits,
                "group_size": group_size,
                "symmetric": False,
                "params": 11_720_448 if table else 147_456,
                "calibration_tokens": 0 if table or not calibrated else 1590,
                "error": error_rtn * float(rng.uniform(0.05, 0.6)) if kept and calibrated else error_rtn,
                "error_rtn": error_rtn,
                "error_of": "weight" if table or not calibrated else "output",
                "fallback": "" if kept else why,
            }
        )
    return rows
