"""Quality and time of our quantizers beside gptqmodel's and autoawq's, on the starter's decoder.

    python benchmarks/quantization.py --data DIR --peers /path/to/venv/bin/python [--work DIR] [--only NAME ...]

DIR holds c4-sample/ and wikitext-2-raw-v1/ in hub layout. The peers' interpreter needs gptqmodel and autoawq.
All tools quantize the linear layers of the transformer blocks on the same calibration rows with the same group
size, asymmetric; each job runs alone in a fresh process. Quality is the mean KL divergence to the full-precision
logits, and perplexity, on held-out text. Finished jobs are kept in the work folder and not run again; figures go
to benchmarks/results/quantization.json.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

GROUP_SIZE = 64
CALIBRATION_ROWS, LENGTH = 16, 512
HELD_OUT_ROWS = 16
"""Per corpus: C4 and WikiText."""


@dataclass(frozen=True)
class Job:
    """One quantization by one tool."""

    name: str
    tool: str
    method: str
    bits: int
    group_size: int = GROUP_SIZE
    options: tuple[tuple[str, Any], ...] = ()
    rows: int = CALIBRATION_ROWS
    output_steps: int = 0
    texts: int = 0
    """Stretches of text for the tuning of outputs, besides those for calibration."""
    scale_bits: int = 16
    beside: str = ""
    """The job it is compared with: its like with FP16 scales, in no fewer bytes."""

    @property
    def bits_per_weight(self) -> float:
        """Codes, zero points and scales, those of rows included."""
        rows = BITS_OF_ROW_SCALES if self.scale_bits < 16 else 0
        return self.bits + (self.bits + self.scale_bits) / self.group_size + rows


JOBS = (
    Job("ours-gptq-g32-2", "ours", "gptq", 2, group_size=32),
    # Codes and scales trained end to end: decision 18. Half an hour without BF16.
    Job("ours-gptq-outputs-g32-2", "ours", "gptq", 2, group_size=32, output_steps=80, texts=320),
    *(Job(f"ours-gptq-{bits}", "ours", "gptq", bits) for bits in (4, 3, 2)),
    *(Job(f"ours-awq-{bits}", "ours", "awq", bits) for bits in (4, 3, 2)),
    *(Job(f"gptqmodel-gptq-{bits}", "gptqmodel", "gptq", bits) for bits in (4, 3)),
    *(Job(f"autoawq-awq-{bits}", "autoawq", "awq", bits) for bits in (4, 3)),
    *(Job(f"ours-{method}-{bits}", "ours", method, bits) for method in ("rtn", "hqq") for bits in (4, 3)),
    # Scales of 4 bits (decision 25): in the same groups, and in groups of half the size and fewer bytes still.
    *(
        Job(f"ours-{method}-{bits}-scales4", "ours", method, bits, scale_bits=4, beside=f"ours-{method}-{bits}")
        for method in ("gptq", "awq")
        for bits in (4, 3, 2)
    ),
    *(
        Job(f"ours-gptq-g32-{bits}-scales4", "ours", "gptq", bits, 32, scale_bits=4, beside=f"ours-gptq-{bits}")
        for bits in (4, 3, 2)
    ),
    Job("ours-gptq-g16-2-scales4", "ours", "gptq", 2, 16, scale_bits=4, beside="ours-gptq-g32-2"),
)
BITS_OF_ROW_SCALES = 16 * 5184 / 3_538_944
"""FP16 scales of a block's 5 184 rows over its 3 538 944 weights."""
PEERS = ("gptqmodel", "autoawq")


def main() -> None:
    """Run what is missing, evaluate it, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", default=sys.executable, help="interpreter that has gptqmodel and autoawq")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "dqf-quantization-benchmark")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    jobs = [job for job in JOBS if not arguments.only or job.name in arguments.only]
    missing = [job for job in jobs if not (arguments.work / job.name / "quality.json").is_file()]
    if missing:
        _run(missing, arguments)
    figures = {
        job.name: _figures(arguments.work / job.name)
        for job in JOBS
        if (arguments.work / job.name / "quality.json").is_file()
    }
    for name, row in figures.items():
        print(
            f"{name:22} {row['seconds']:7.0f} s  KL {row['kl']:.4f} ± {row['kl_se']:.4f}  ppl {row['perplexity']:8.2f} "
            f"(full precision {row['perplexity_full']:.2f})  peak {row['peak_rss_bytes'] / 1e9:.2f} GB"
        )
    _record(figures, arguments)


def _run(jobs: list[Job], arguments: argparse.Namespace) -> None:
    import torch

    from benchmarks import _lm

    torch.set_num_threads(arguments.threads)
    base = _lm.write_base(arguments.work / "base")
    c4, wikitext = arguments.data / "c4-sample", arguments.data / "wikitext-2-raw-v1"
    calibration = {
        rows: _lm.token_rows(base, c4 / "train.parquet", rows, LENGTH) for rows in {job.rows for job in jobs}
    }
    held_out = [
        row
        for file in (c4 / "validation.parquet", wikitext / "validation.parquet")
        for row in _lm.token_rows(base, file, HELD_OUT_ROWS, LENGTH)
    ]
    truth = None
    for job in jobs:
        folder = arguments.work / job.name
        if not (folder / "job.json").is_file():
            folder.mkdir(exist_ok=True)
            file = folder / "request.json"
            request = {
                "base": str(base),
                "calibration": calibration[job.rows],
                "method": job.method,
                "bits": job.bits,
                "group_size": job.group_size,
                "scale_bits": job.scale_bits,
                "output_steps": job.output_steps,
                "texts": _lm.token_rows(base, c4 / "train.parquet", job.texts, LENGTH) if job.texts else [],
                "symmetric": False,
                "options": dict(job.options),
                "out": str(folder),
                "threads": arguments.threads,
            }
            file.write_text(json.dumps(request))
            script = ROOT / "benchmarks" / "peers" / f"{job.tool}_job.py"
            python = sys.executable if job.tool == "ours" else arguments.peers
            print(f"{job.name} ...", flush=True)
            with (folder / "log").open("w") as log:
                done = subprocess.run([python, str(script), str(file)], stdout=log, stderr=log, check=False)
            if done.returncode:
                print(f"{job.name} failed, see {folder / 'log'}", flush=True)
                continue
        if truth is None:
            truth = _lm.reference(_lm.load_base(base), held_out)
        model = _lm.load_base(base)
        _lm.put_weights(model, folder / "weights.safetensors")
        quality = _lm.compare(model, truth) | {"perplexity_full": truth.perplexity}
        (folder / "quality.json").write_text(json.dumps(quality))


def _figures(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "job.json").read_text()) | json.loads((folder / "quality.json").read_text())


def _record(figures: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Write ours over peer's for every pair that was measured, lower is better."""
    from benchmarks import _results

    def add(name: str, ours: float, peer: float, peer_name: str, unit: str, n: int, spread: float | None) -> None:
        command = "python benchmarks/quantization.py --data DIR --peers PYTHON"
        _results.record(
            name, ours, peer, peer_name, unit=unit, n=n, spread=spread, command=command, threads=arguments.threads
        )

    for bits in (4, 3):
        peers = {name: figures[name] for name in (f"gptqmodel-gptq-{bits}", f"autoawq-awq-{bits}") if name in figures}
        best = min(peers, key=lambda name: peers[name]["kl"], default=None)
        for method, peer in (("gptq", f"gptqmodel-gptq-{bits}"), ("awq", f"autoawq-awq-{bits}")):
            ours = figures.get(f"ours-{method}-{bits}")
            if ours is None or best is None:
                continue
            spread = _ratio_spread(ours["kl_rows"], peers[best]["kl_rows"])
            n = len(ours["kl_rows"])
            add(f"kl_{method}_{bits}bit_g{GROUP_SIZE}", ours["kl"], peers[best]["kl"], best, "nats/token", n, spread)
            if peer in figures:
                theirs = figures[peer]
                add(f"time_{method}_{bits}bit", ours["seconds"], theirs["seconds"], peer, "s", 1, None)
                memory = "peak_rss_bytes"
                add(f"peak_memory_{method}_{bits}bit", ours[memory], theirs[memory], peer, "bytes", 1, None)
    for job in JOBS:
        if job.name not in figures or job.beside not in figures:
            continue
        (other,) = (one for one in JOBS if one.name == job.beside)
        ours, theirs = figures[job.name], figures[other.name]
        spread = _ratio_spread(ours["kl_rows"], theirs["kl_rows"])
        add(f"kl_{job.name}", ours["kl"], theirs["kl"], other.name, "nats/token", len(ours["kl_rows"]), spread)
        add(f"size_{job.name}", job.bits_per_weight, other.bits_per_weight, other.name, "bits/weight", 1, None)
    two = [name for name in figures if name.startswith("ours") and name.endswith("-2")]
    for name in two:
        row = figures[name]
        n = len(row["kl_rows"])
        add(f"perplexity_2bit_{name}", row["perplexity"], row["perplexity_full"], "full precision", "ppl", n, None)


def _ratio_spread(ours: list[float], peer: list[float]) -> float:
    """Return the standard error of the ratio of means over paired rows (delta method)."""
    ratio = statistics.mean(ours) / statistics.mean(peer)
    differences = [a - ratio * b for a, b in zip(ours, peer, strict=True)]
    return statistics.stdev(differences) / math.sqrt(len(ours)) / statistics.mean(peer)


if __name__ == "__main__":
    main()
