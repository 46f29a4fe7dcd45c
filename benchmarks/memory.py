"""Peak memory of quantizing a decoder block by block, beside the size of its weights.

    python benchmarks/memory.py [--shape 135m 1b 3b] [--tokens 2048]
    python benchmarks/memory.py --arithmetic

Writes a randomly initialised Llama classifier of that shape to disk, layer by layer, quantizes it by GPTQ to 4 bits in
groups of 64 in a fresh process, and compares the memory that process took beyond its libraries with the model's
full-precision (FP32) size plus one layer's activations. Figures go to benchmarks/results/quantization.json.
`--arithmetic` prints what should be held, part by part, for every shape, and runs nothing (decision 30).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SHAPES: dict[str, dict[str, int]] = {
    "135m": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    | {"num_key_value_heads": 3, "vocab_size": 49152},
    "1b": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32}
    | {"num_key_value_heads": 4, "vocab_size": 32000},
    "3b": {"hidden_size": 3200, "intermediate_size": 8640, "num_hidden_layers": 26, "num_attention_heads": 32}
    | {"num_key_value_heads": 32, "vocab_size": 32000},
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    | {"num_key_value_heads": 32, "vocab_size": 32000},
}
ROW = 256
GROUP_SIZE = 64


def main() -> None:
    """Write, quantize in a fresh process, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["135m", "1b"])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "dqf-memory-benchmark")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--arithmetic", action="store_true", help="print what should be held and run nothing")
    arguments = parser.parse_args()
    if arguments.arithmetic:
        for shape in SHAPES:
            parts = held(SHAPES[shape], arguments.tokens)
            listed = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in parts.items())
            print(f"{shape}: {sum(parts.values()) / 1e9:.2f} GB beyond the libraries: {listed}")
        return
    if arguments.job:
        _quantize(arguments.job, arguments.tokens, arguments.threads)
        return
    from benchmarks import _results

    for shape in arguments.shape:
        folder = arguments.work / shape
        params = _write(folder, SHAPES[shape])
        command = [sys.executable, __file__, "--job", str(folder), "--tokens", str(arguments.tokens)]
        answer = subprocess.run(
            [*command, "--threads", str(arguments.threads)], check=True, capture_output=True, text=True
        )
        row = json.loads(answer.stdout.splitlines()[-1])
        size = 4 * params
        activations = 4 * arguments.tokens * (SHAPES[shape]["hidden_size"] + SHAPES[shape]["intermediate_size"])
        allowed = 1.5 * size + activations
        print(
            f"{shape}: {params / 1e6:.0f} M parameters, {size / 1e9:.2f} GB in FP32; {row['seconds']:.0f} s, "
            f"at most {row['bytes'] / 1e9:.2f} GB ({row['bytes'] / size:.2f}x), allowed {allowed / 1e9:.2f} GB, "
            f"libraries {row['libraries'] / 1e9:.2f} GB",
            flush=True,
        )
        _results.record(
            f"peak_memory_gptq_4bit_llama-{shape}_random",
            row["bytes"],
            allowed,
            "1.5 x FP32 weights + one layer's activations",
            unit="bytes beyond the libraries",
            n=1,
            spread=None,
            command=f"python benchmarks/memory.py --shape {shape} --tokens {arguments.tokens}",
            threads=arguments.threads,
        )
        shutil.rmtree(folder)


def held(shape: dict[str, int], tokens: int) -> dict[str, float]:
    """Return bytes held while the last block is quantized, by what they are.

    Args:
        shape: as in `SHAPES`.
        tokens: of calibration texts.
    """
    hidden, inner, vocab = shape["hidden_size"], shape["intermediate_size"], shape["vocab_size"]
    head = hidden // shape["num_attention_heads"]
    block = 2 * hidden * hidden + 2 * hidden * head * shape["num_key_value_heads"] + 3 * hidden * inner
    weights = shape["num_hidden_layers"] * block + vocab * hidden
    return {
        "codes, a byte each, with FP16 scales and zero points": weights * (1 + 3 / GROUP_SIZE),
        "table of embeddings, FP32": 4.0 * vocab * hidden,
        "one block, FP32": 4.0 * block,
        "second moments of its inputs": 4.0 * (3 * hidden**2 + inner**2),
        "factorizing the largest: in order, factor, inverse, divided": 4 * 4.0 * inner**2,
        "gate and up together: joined, transposed, codes, rounded, dequantized": 5 * 4.0 * 2 * hidden * inner,
        "hidden states before and after the block": 2 * 4.0 * tokens * hidden,
    }


def _write(folder: Path, shape: dict[str, int]) -> int:
    """Write a random FP16 classifier, one file a block, and return its parameters."""
    import torch
    from accelerate import init_empty_weights
    from safetensors import safe_open
    from transformers import LlamaConfig, LlamaForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    config = LlamaConfig(**shape, num_labels=2, pad_token_id=0, max_position_embeddings=2048)
    with init_empty_weights():
        model = LlamaForSequenceClassification(config)
    config.architectures = ["LlamaForSequenceClassification"]
    config.save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    parts: dict[str, dict[str, Any]] = {}
    params = 0
    for name, weight in model.named_parameters():
        params += weight.numel()
        file = name.split(".")[2] if ".layers." in name else "rest"
        random = torch.randn(weight.shape, generator=generator) * 0.02 if weight.dim() > 1 else torch.ones(weight.shape)
        parts.setdefault(file, {})[name] = random.half()
        if len(parts) > 2:
            _flush(folder, parts, keep=file)
    _flush(folder, parts)
    places = {}
    for path in folder.glob("part-*.safetensors"):
        with safe_open(path, "pt") as stored:
            places |= dict.fromkeys(stored.keys(), path.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return params


def _flush(folder: Path, parts: dict[str, dict[str, Any]], keep: str = "") -> None:
    from safetensors.torch import save_file

    for file in [file for file in parts if file not in (keep, "rest") or not keep]:
        save_file(parts.pop(file), folder / f"part-{file}.safetensors")


def _quantize(folder: Path, tokens: int, threads: int) -> None:
    import torch

    from dqf import registry
    from dqf.memory import keep_freed_memory
    from dqf.models.streaming import StreamedModel
    from dqf.progress import SilentReporter
    from dqf.quant.model import quantize_model
    from dqf.quant.qparams import Granularity
    from dqf.quant.work import Method

    torch.set_num_threads(threads)
    keep_freed_memory()  # as a run does
    entry = registry.get("quantizer", "gptq")
    torch.ones(64, 64) @ torch.ones(64, 64)
    libraries = _status("VmRSS:")
    source = StreamedModel(folder, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, source.model.config.vocab_size, (max(1, tokens // ROW), ROW), generator=generator)
    batches = [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in ids.split(4)]
    began = time.monotonic()
    method = Method(entry, entry.config(), Granularity(4, GROUP_SIZE))
    quantize_model(source.model, method, batches, SilentReporter(), source=source)
    seconds = time.monotonic() - began
    print(json.dumps({"seconds": seconds, "bytes": _status("VmHWM:") - libraries, "libraries": libraries}))


def _status(key: str) -> int:
    return 1024 * int(Path("/proc/self/status").read_text().split(key)[1].split()[0])


if __name__ == "__main__":
    main()
