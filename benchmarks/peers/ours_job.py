"""Quantize a decoder's block layers by our own quantizer, as the peers' jobs do.

python benchmarks/peers/ours_job.py JOB.json; see `gptqmodel_job.py`. Needs the project on the path.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))


def main() -> None:
    """Quantize, time it, and write what the codes stand for."""
    import torch

    from benchmarks import _lm
    from dqf import registry
    from dqf.memory import keep_freed_memory
    from dqf.progress import SilentReporter
    from dqf.quant.model import Scope, quantize_model
    from dqf.quant.qparams import Granularity
    from dqf.quant.work import Method

    job = json.loads(Path(sys.argv[1]).read_text())
    out = Path(job["out"])
    torch.set_num_threads(job.get("threads", 2))
    torch.set_flush_denormal(True)  # as a run does
    keep_freed_memory()
    entry = registry.get("quantizer", job["method"])
    errors: list[registry.FieldError] = []
    options = entry.options(job.get("options", {}), "", errors)
    if errors:
        raise SystemExit(str(errors[0]))
    model = _lm.load_base(Path(job["base"]))
    rows = torch.tensor(job["calibration"])
    batches = [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in rows.split(8)]
    granularity = Granularity(job["bits"], job["group_size"], job["symmetric"], job["scale_bits"])
    method = Method(entry, options, granularity)
    began = time.monotonic()
    weights, receipts = quantize_model(model, method, batches, SilentReporter(), Scope(embeddings=False, head=False))
    if job["output_steps"]:
        model = _lm.tune_outputs(_lm.load_base(Path(job["base"])), weights, job["texts"], job["output_steps"], out)
    seconds = time.monotonic() - began
    _lm.save_weights(model, out / "weights.safetensors")
    # Not getrusage's figure: that one still holds the parent's peak.
    peak = 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    (out / "job.json").write_text(json.dumps({"seconds": seconds, "peak_rss_bytes": peak, "layers": len(receipts)}))


if __name__ == "__main__":
    main()
