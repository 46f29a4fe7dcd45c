"""Prefill and decode of the starter's decoder: 4-bit weights beside BF16 and FP32 ones.

Peers in torch are what people run today; the same graph with FP32 weights says how much of a ratio is the graph's.

    pip install -r requirements-export.txt
    python benchmarks/decode.py [--threads 2]

Prefill is one pass over 128 tokens; a decode step takes one token behind 128 kept ones. The model is quantized to
4 bits in groups of 64 (embeddings and output projection, which are tied, too), rounded to nearest, for speed does not
depend on how codes were found. The same codes run in torch (its 4-bit kernel, in BF16) and in ONNX Runtime (inputs
rounded to 8 bits); the faster one whose logits agree with the model is ours. All take turns. Figures go to
benchmarks/results/quantization.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.quant.qparams import QuantizedWeight

PROMPT, STEPS, GROUP_SIZE = 128, 300, 64
OURS = ("torch, 4-bit", "ONNX Runtime, 4-bit")
SAME_GRAPH = "ONNX Runtime, FP32"
PEERS = {"torch BF16": "bf16", "torch FP32": "fp32", SAME_GRAPH: "the_same_graph_fp32"}
TOLERANCE = 0.08
"""Largest relative L2 distance of the logits from those of the same codes in FP32, as for artifacts."""


class InTorch:
    """A causal decoder in torch, batch 1; its position moves with every call and can be set back."""

    def __init__(self, model: Any) -> None:
        from transformers import DynamicCache

        self._model, self._kept = model, DynamicCache()

    @property
    def position(self) -> int:
        """Tokens kept."""
        return int(self._kept.get_seq_length())

    @position.setter
    def position(self, kept: int) -> None:
        self._kept.crop(kept - self.position)  # what to remove, as a negative number

    def __call__(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Take tokens behind the kept ones and keep them, too; return the last one's logits, (vocabulary,)."""
        import torch

        with torch.inference_mode():
            logits = self._model(
                torch.tensor([ids]), past_key_values=self._kept, use_cache=True, logits_to_keep=1
            ).logits
        return np.asarray(logits[0, -1].float().numpy(), dtype=np.float32)


def main() -> None:
    """Quantize, compare logits, time, record."""
    import torch

    from benchmarks import _lm
    from benchmarks._decoder_graph import Decoder

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "dqf-decode-benchmark")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base = _lm.write_base(arguments.work / "base")
    prompt = torch.randint(10, 40_000, (PROMPT,), generator=torch.Generator().manual_seed(0)).tolist()
    expected = InTorch(_dense(_lm.load_base(base)))(prompt)
    file = arguments.work / "decoder.onnx"
    decoders = {
        "torch, 4-bit": InTorch(_packed(_lm.load_base(base))),
        "ONNX Runtime, 4-bit": Decoder(_lm.load_base(base), _rounded, file, 2 * PROMPT, arguments.threads),
        SAME_GRAPH: Decoder(_lm.load_base(base), None, arguments.work / "fp32.onnx", 2 * PROMPT, arguments.threads),
        "torch BF16": InTorch(_lm.load_base(base).bfloat16()),
        "torch FP32": InTorch(_lm.load_base(base)),
    }
    faithful = [name for name in OURS if _distance(decoders[name], prompt, expected) < TOLERANCE]
    times = {"decode": _decode_ms(decoders, prompt), "prefill": _prefill_ms(decoders, prompt)}
    for what, found in times.items():
        for name, ms in found.items():
            print(f"{what:8} {name:20} {statistics.median(ms):7.1f} ms")
        ours = min(faithful, key=lambda name: statistics.median(found[name]))
        for peer, short in PEERS.items():
            ratios = [a / b for a, b in zip(found[ours], found[peer], strict=True)]
            _results_record(what, short, ours, peer, found, ratios, arguments.threads)


def _results_record(
    what: str,
    short: str,
    ours: str,
    peer: str,
    found: dict[str, list[float]],
    ratios: list[float],
    threads: int,
) -> None:
    from benchmarks import _results

    _results.record(
        f"{what}_smollm2-135m_4bit_vs_{short}",
        statistics.median(found[ours]),
        statistics.median(found[peer]),
        f"{peer}; ours is {ours}",
        unit="ms",
        n=len(ratios),
        spread=statistics.stdev(ratios) / len(ratios) ** 0.5,
        command="python benchmarks/decode.py",
        threads=threads,
    )


def _distance(decoder: Any, prompt: list[int], expected: NDArray[np.float32]) -> float:
    """Return how far a decoder's logits are from the expected ones, half of the prompt taken token by token."""
    decoder(prompt[: PROMPT // 2])
    for token in prompt[PROMPT // 2 :]:
        logits = decoder([token])
    return float(np.linalg.norm(logits - expected) / np.linalg.norm(expected))


def _decode_ms(decoders: dict[str, Any], prompt: list[int]) -> dict[str, list[float]]:
    """Time one token behind the kept prompt."""
    times: dict[str, list[float]] = {name: [] for name in decoders}
    for decoder in decoders.values():
        decoder.position = 0
        decoder(prompt)
    for step in range(STEPS):
        for name, decoder in decoders.items():
            began = time.perf_counter()
            decoder([prompt[step % PROMPT]])
            times[name].append(1e3 * (time.perf_counter() - began))
            decoder.position = PROMPT
    return {name: ms[5:] for name, ms in times.items()}


def _prefill_ms(decoders: dict[str, Any], prompt: list[int]) -> dict[str, list[float]]:
    """Time a pass over the prompt with nothing kept."""
    times: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(STEPS // 6):
        for name, decoder in decoders.items():
            decoder.position = 0
            began = time.perf_counter()
            decoder(prompt)
            times[name].append(1e3 * (time.perf_counter() - began))
    return {name: ms[5:] for name, ms in times.items()}


def _rounded(weight: Tensor) -> QuantizedWeight:
    from dqf.quant.qparams import Granularity, choose_qparams, quantize

    granularity = Granularity(4, GROUP_SIZE)
    return quantize(weight, choose_qparams(weight, granularity), granularity)


def _weights(model: Any) -> list[tuple[str, Any]]:
    """Return the layers that are quantized, by name; the tied output projection is one, too."""
    from torch import nn

    return [(name, one) for name, one in model.named_modules() if isinstance(one, nn.Linear | nn.Embedding)]


def _dense(model: Any) -> Any:
    """Return the model with what the codes stand for, in FP32."""
    table = model.get_input_embeddings().weight
    for _, module in _weights(model):
        if module.weight is not table:
            module.weight.data = _rounded(module.weight.detach()).dequantize()
    table.data = _rounded(table.detach()).dequantize()
    return model


def _packed(model: Any) -> Any:
    """Return the model in BF16 with packed layers."""
    from dqf.artifacts import packed_tensors
    from dqf.quant.packed_modules import pack_modules

    packed, stored = {}, dict[str, Any]()
    for name, module in _weights(model):
        packed[f"{name}.weight"], parts = packed_tensors(f"{name}.weight", _rounded(module.weight.detach()))
        stored |= parts
    pack_modules(model, packed, stored, kernels=True)
    return model.bfloat16()


if __name__ == "__main__":
    main()
