"""`python -m dqf.methods.quantizers._gptqmodel_job JOB.json`: GPTQModel in a process of its own.

GPTQModel loads causal models from folders only, patches libraries it imports and starts threads; so it gets a
folder, and what its checkpoint stands for is read back the way its users read it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", str(os.cpu_count() or 1))


def main() -> None:
    """Quantize JOB's folder; write `layers.safetensors` with weights and scales of every layer."""
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from safetensors.torch import save_file

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    out = Path(job["out"])
    config = QuantizeConfig(
        bits=job["bits"],
        group_size=job["group_size"],
        sym=job["symmetric"],
        desc_act=False,
        device=job["device"],
        offload_to_disk=False,
    )
    model = GPTQModel.load(job["model"], config)
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in job["rows"]]
    model.quantize(rows, batch_size=8)
    # In memory the codes are not yet in the order they are stored in.
    model.save(str(out / "checkpoint"))
    model = GPTQModel.load(str(out / "checkpoint"), device="cpu", backend=BACKEND.TORCH)
    tensors = {}
    for name, module in model.model.named_modules():
        if hasattr(module, "dequantize_weight"):
            tensors[f"{name}.weight"] = module.dequantize_weight().T.contiguous().float()
            tensors[f"{name}.scale"] = module.scales.T.contiguous().half()
    save_file(tensors, out / "layers.safetensors")


if __name__ == "__main__":
    main()
