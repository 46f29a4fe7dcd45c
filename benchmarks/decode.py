"""Prefill and decode of the starter's decoder: our packed 4-bit weights beside BF16 weights, both in torch.

    python benchmarks/decode.py [--threads 2]

Prefill is one pass over 128 tokens; a decode step takes one token behind 128 kept ones. The model is quantized to
4 bits in groups of 64 (embeddings and output projection, which are tied, too), rounded to nearest, for speed does not
depend on how codes were found. Steps of both are interleaved. Figures go to benchmarks/results/quantization.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PROMPT, STEPS, GROUP_SIZE = 128, 300, 64


def main() -> None:
    """Quantize, pack, time, record."""
    import torch

    from benchmarks import _lm, _results

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "dqf-decode-benchmark")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base = _lm.write_base(arguments.work / "base")
    models = {"bf16": _lm.load_base(base).bfloat16(), "packed": _packed(_lm.load_base(base))}
    times: dict[str, dict[str, list[float]]] = {name: {"prefill": [], "decode": []} for name in models}
    prompt = torch.randint(10, 40_000, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        caches = {name: _prefill(model, prompt) for name, model in models.items()}
        for step in range(STEPS):
            for name, model in models.items():
                began = time.perf_counter()
                model(prompt[:, step % PROMPT : step % PROMPT + 1], past_key_values=caches[name], use_cache=True)
                times[name]["decode"].append(1e3 * (time.perf_counter() - began))
                caches[name].crop(-1)
        for _ in range(STEPS // 3):
            for name, model in models.items():
                began = time.perf_counter()
                model(prompt, use_cache=False)
                times[name]["prefill"].append(1e3 * (time.perf_counter() - began))
    for what in ("decode", "prefill"):
        ours, peer = (times[name][what][5:] for name in ("packed", "bf16"))
        ratios = [a / b for a, b in zip(ours, peer, strict=True)]
        a, b = statistics.median(ours), statistics.median(peer)
        print(f"{what:8} packed 4-bit {a:.1f} ms, BF16 {b:.1f} ms, ratio {a / b:.2f}")
        _results.record(
            f"{what}_smollm2-135m_4bit_vs_bf16",
            a,
            b,
            "torch BF16",
            unit="ms",
            n=len(ours),
            spread=statistics.stdev(ratios) / len(ratios) ** 0.5,
            command="python benchmarks/decode.py",
            threads=arguments.threads,
        )


def _prefill(model: Any, prompt: Any) -> Any:
    from transformers import DynamicCache

    cache = DynamicCache()
    model(prompt, past_key_values=cache, use_cache=True)
    return cache


def _packed(model: Any) -> Any:
    """Return the model in BF16 with packed 4-bit layers; the tied output projection shares the table's codes."""
    import torch

    from dqf.artifacts import packed_tensors
    from dqf.quant.packed_modules import pack_modules
    from dqf.quant.qparams import Granularity, choose_qparams, quantize

    granularity = Granularity(4, GROUP_SIZE)
    packed, stored = {}, {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            weight = module.weight.detach().float()
            one = quantize(weight, *choose_qparams(weight, granularity), granularity)
            packed[f"{name}.weight"], parts = packed_tensors(f"{name}.weight", one)
            stored |= parts
    pack_modules(model, packed, stored, kernels=True)
    return model.bfloat16()


if __name__ == "__main__":
    main()
