"""How much of a forward pass are matrix products, and how fast could it be if INT8 made them twice as fast?

    python benchmarks/runtimes.py --model NAME=FOLDER ... --data DIR --work WORK
    python benchmarks/prefill_limit.py --work WORK

Reads the artifacts that `runtimes.py` left in WORK, profiles each FP16 file in `openvino-bf16` and each 4-bit file in
`openvino-w8a8` layer by layer, and prints, beside the measured ratio, the one that products in half of BF16's time
would give, everything else unchanged: an instruction multiplies 64 pairs of 8-bit or 32 pairs of BF16 numbers. Batch 1,
C4 texts of the artifact's longest length.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dqf.terminal import table  # noqa: E402

WARM_UP, PASSES, TURNS = 50, 20, 6
PRODUCTS = ("FullyConnected", "LLMMLP", "QKVProjection")


@dataclass(frozen=True)
class Profile:
    """Median ms of a pass, and of its products."""

    whole_ms: float
    products_ms: float


def main() -> None:
    """Profile everything in the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    rows = []
    for folder in sorted(arguments.work.iterdir()):
        if not all((folder / form / "dqf.json").is_file() for form in ("16", "4")):
            continue
        bf16 = _Profiled(folder / "16", False, arguments.threads)
        int8 = _Profiled(folder / "4", True, arguments.threads)
        for turn in range(TURNS):
            for one in (bf16, int8) if turn % 2 else (int8, bf16):
                one.measure()
        full, four = bf16.profile(), int8.profile()
        limit = full.whole_ms / (full.whole_ms - full.products_ms / 2)
        rows.append(
            (
                folder.name,
                f"{full.whole_ms:.2f}",
                f"{full.products_ms / full.whole_ms:.0%}",
                f"{four.whole_ms:.2f}",
                f"{four.products_ms / four.whole_ms:.0%}",
                f"{full.whole_ms / four.whole_ms:.2f}x",
                f"{limit:.2f}x",
            )
        )
    header = ("model, tokens", "BF16 ms", "products", "4 bits in INT8, ms", "products", "faster", "limit")
    print(table(header, rows))


class _Profiled:
    """An artifact in OpenVINO that tells what each layer took."""

    def __init__(self, folder: Path, int8: bool, threads: int) -> None:
        from dqf.artifacts import open_artifact
        from dqf.data.encode import Encoder
        from dqf.data.tasks import Examples
        from dqf.runtimes._openvino import OpenVINORuntime

        artifact = open_artifact(folder, check=False)
        properties = {"INFERENCE_PRECISION_HINT": "bf16", "PERF_COUNT": "YES"}
        self._runtime = OpenVINORuntime(artifact, threads, properties, int8=int8)
        data = json.loads((folder.parent / "examples.json").read_text(encoding="utf-8"))
        encoder = Encoder(folder / "tokenizer.json", artifact.manifest["max_length"])
        encoded = encoder(Examples(tuple(data["texts"]), None, np.zeros(len(data["texts"]))))
        longest = max(range(len(encoded)), key=lambda row: len(encoded.ids[row]))
        self._batch = encoded.batch([longest], int(artifact.manifest["pad_id"]))
        self._whole: list[float] = []
        self._products: list[float] = []
        for _ in range(WARM_UP):
            self._runtime.logits(self._batch)

    def measure(self) -> None:
        """Add so many passes."""
        for _ in range(PASSES):
            began = time.perf_counter()
            self._runtime.logits(self._batch)
            self._whole.append((time.perf_counter() - began) * 1e3)
            layers = self._runtime._request.profiling_info
            products = [one.real_time for one in layers if one.node_type.startswith(PRODUCTS)]
            self._products.append(1e3 * sum(one.total_seconds() for one in products))

    def profile(self) -> Profile:
        """Return the medians."""
        return Profile(statistics.median(self._whole), statistics.median(self._products))


if __name__ == "__main__":
    main()
