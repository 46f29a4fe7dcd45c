"""Quantize a decoder's block layers by autoawq, in its own process.

python benchmarks/peers/autoawq_job.py JOB.json, where JOB holds base, calibration (token rows), bits,
group_size, symmetric, out. Writes OUT/weights.safetensors (dequantized), OUT/norms.safetensors and
OUT/job.json.

autoawq multiplies live weights in place on a CPU (its `v.cpu()` copies are none there), so the scale
search is given clones; without that the result is noise.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Quantize, time it, and write what the codes stand for."""
    import torch
    from awq import AutoAWQForCausalLM
    from awq.quantize.quantizer import AwqQuantizer
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    job = json.loads(Path(sys.argv[1]).read_text())
    out = Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(job.get("threads", 2))
    samples = job["calibration"]

    class CpuSafe(AwqQuantizer):  # type: ignore[misc]
        """The scale search on clones; codes are expanded instead of packed, which knows 4 bits only."""

        def _compute_best_scale(self, x: Any, w_mean: Any, x_mean: Any, module2inspect: Any, *args: Any, **kw: Any):
            kept = {name: value.clone() for name, value in module2inspect.state_dict().items()}
            original = module2inspect.state_dict

            def cloned(*a: Any, **k: Any) -> dict[str, Any]:
                return {name: value.clone() for name, value in original(*a, **k).items()}

            module2inspect.state_dict = cloned
            try:
                return super()._compute_best_scale(x, w_mean, x_mean, module2inspect, *args, **kw)
            finally:
                del module2inspect.state_dict
                module2inspect.load_state_dict(kept)

        def _apply_quant(self, module: Any, named_linears: dict[str, Any]) -> None:
            for layer in named_linears.values():
                layer.weight.data = self.pseudo_quantize_tensor(layer.weight.data.float())[0].to(layer.weight.dtype)

    model = AutoAWQForCausalLM.from_pretrained(job["base"], device_map=None, torch_dtype=torch.float32)
    model.model.float()
    tokenizer = AutoTokenizer.from_pretrained(job["base"])
    config = {
        "zero_point": not job["symmetric"],
        "q_group_size": job["group_size"],
        "w_bit": job["bits"],
        "version": "GEMM",
    }
    began = time.monotonic()
    model.quantize(
        tokenizer,
        quant_config=config,
        calib_data=samples,
        max_calib_samples=len(samples),
        max_calib_seq_len=len(samples[0]),
        quantizer_cls=CpuSafe,
    )
    seconds = time.monotonic() - began
    named = dict(model.model.named_modules())
    weights = {
        name: module.weight.detach().half().contiguous()
        for name, module in named.items()
        if isinstance(module, torch.nn.Linear) and ".layers." in name
    }
    norms = {n: p.detach().half().contiguous() for n, p in model.model.named_parameters() if "norm" in n}
    save_file(weights, out / "weights.safetensors")
    save_file(norms, out / "norms.safetensors")
    # Not getrusage's figure: that one still holds the parent's peak.
    peak = 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    (out / "job.json").write_text(json.dumps({"seconds": seconds, "peak_rss_bytes": peak, "layers": len(weights)}))


if __name__ == "__main__":
    main()
