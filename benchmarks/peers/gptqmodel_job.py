"""Quantize a decoder's block layers by gptqmodel, in its own environment.

python benchmarks/peers/gptqmodel_job.py JOB.json, where JOB holds base, calibration (token rows), method
(gptq or awq), bits, group_size, symmetric, out. Writes OUT/weights.safetensors (dequantized) and OUT/job.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")


def main() -> None:
    """Quantize, time it, and write what the codes stand for."""
    import torch
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from safetensors.torch import save_file

    job = json.loads(Path(sys.argv[1]).read_text())
    out = Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(job.get("threads", 2))
    options = {"quant_method": "awq", "format": "gemm"} if job["method"] == "awq" else {}
    config = QuantizeConfig(
        bits=job["bits"],
        group_size=job["group_size"],
        sym=job["symmetric"],
        device="cpu",
        offload_to_disk=False,
        **options,
    )
    model = GPTQModel.load(job["base"], config)
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in job["calibration"]]
    began = time.monotonic()
    extra = {"backend": BACKEND.AWQ_TORCH} if job["method"] == "awq" else {}
    model.quantize(rows, batch_size=8, **extra)
    seconds = time.monotonic() - began
    peak = 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    # Read back as its users do: in memory the codes are not yet in the order they are stored in.
    model.save(str(out / "checkpoint"))
    model = GPTQModel.load(str(out / "checkpoint"), device="cpu", backend=BACKEND.TORCH)
    weights = {
        name: module.dequantize_weight().T.contiguous().half()
        for name, module in model.model.named_modules()
        if hasattr(module, "dequantize_weight") and ".layers." in name
    }
    norms = {n: p.detach().half().contiguous() for n, p in model.model.named_parameters() if "norm" in n}
    save_file({**weights}, out / "weights.safetensors")
    save_file(norms, out / "norms.safetensors")
    (out / "job.json").write_text(json.dumps({"seconds": seconds, "peak_rss_bytes": peak, "layers": len(weights)}))


if __name__ == "__main__":
    main()
