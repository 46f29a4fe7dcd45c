"""Latency of 4-bit artifacts in every runtime beside 8-bit and full-precision ones of the same model.

    python benchmarks/runtimes.py --model NAME=FOLDER [NAME=FOLDER ...] --data DIR [--work DIR]

FOLDER is a fine-tuned model folder as a run leaves it in the stage cache (results/cache/teacher/*,
results/cache/student-ft/*). Each model is quantized by GPTQ in groups of 32, embeddings included, calibrated on
C4 cut to the task's length, and served by each runtime in a process of its own; batch 1, 32 and 128 tokens. The
same twenty examples go through all of them in turn, in an order that rotates, as in a run (decision 4); what is much
slower than the fastest runtime of its file takes part in the first turn only. Faithful means what a run calls
faithful. Figures go to benchmarks/results/quantization.json.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import _results  # noqa: E402

TOKENS = (32, 128)
TURNS, EXAMPLES = 6, 20
MUCH_SLOWER = 1.3
FORMS = (16, 8, 4)
GROUP_SIZE = 32


def main() -> None:
    """Quantize, serve, time, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "dqf-runtime-benchmark")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quantizer", default="gptq")
    arguments = parser.parse_args()
    texts = list(pd.read_parquet(arguments.data / "c4-sample" / "train.parquet")["text"].astype(str))
    for given in arguments.model:
        name, _, folder = given.partition("=")
        for tokens in TOKENS:
            work = arguments.work / f"{name}-{tokens}"
            rows = _measure(Path(folder), work, texts, tokens, arguments)
            for row in rows:
                print(
                    f"{name:14} {tokens:4} tokens {row['bits']:2} bits {row['runtime']:18} p50 {row['ms']:8.2f} ms  "
                    f"error {row['relative_l2_error']:.3f}  agree {row['argmax_agreement']:.3f}  "
                    f"{'faithful' if row['faithful'] else 'NOT faithful'}",
                    flush=True,
                )
            _record(name, tokens, rows, arguments.threads)


def _measure(
    model: Path, work: Path, texts: list[str], tokens: int, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    from dqf.data.tasks import Examples
    from dqf.progress import SilentReporter
    from dqf.runtimes._select import candidates
    from dqf.serving.client import Served, ServingError, write_examples
    from dqf.stages.verify import faithful

    held = Examples(tuple(texts[-EXAMPLES:]), None, np.zeros(EXAMPLES))
    work.mkdir(parents=True, exist_ok=True)
    write_examples(held, work / "examples.json")
    rows: list[dict[str, Any]] = []
    served: list[Served] = []
    try:
        for bits in FORMS:
            artifact, reference = _artifact(model, work / str(bits), bits, texts[:64], held, tokens, arguments)
            for entry in candidates(artifact, "cpu", "auto"):
                if entry.name == "torch-packed":
                    continue  # the slowest by far: it is there for its memory
                try:
                    one = Served(artifact.folder, entry.name, arguments.threads, "cpu", work / "log", SilentReporter())
                    one.encode(work / "examples.json")
                    row = faithful(reference, one.logits(work / "logits.npy"), False)
                except ServingError as error:
                    print(f"{entry.name}: {error}")
                    continue
                served.append(one)
                rows.append({"bits": bits, "runtime": entry.name, "precision": entry.facts["precision"], **row})
        times: list[list[float]] = [[] for _ in rows]
        for one in served:
            for example in range(EXAMPLES):
                one.time_ms(example)
        taking_part = list(range(len(rows)))
        for turn in range(TURNS):
            for at in taking_part[turn % len(taking_part) :] + taking_part[: turn % len(taking_part)]:
                times[at] += [served[at].time_ms(example) for example in range(EXAMPLES)]
            if turn == 0:
                taking_part = _fast_enough(rows, times)
        for row, ms in zip(rows, times, strict=True):
            row |= {"ms": float(np.median(ms)), "times": ms}
    finally:
        for one in served:
            one.close()
    return rows


def _fast_enough(rows: list[dict[str, Any]], times: list[list[float]]) -> list[int]:
    """Return which are faithful and not much slower than the fastest such of the same file."""
    faithful = [at for at, row in enumerate(rows) if row["faithful"]]
    fastest = {
        bits: min(np.median(times[at]) for at in faithful if rows[at]["bits"] == bits)
        for bits in {rows[at]["bits"] for at in faithful}
    }
    return [at for at in faithful if np.median(times[at]) <= MUCH_SLOWER * fastest[rows[at]["bits"]]]


def _artifact(
    model: Path, folder: Path, bits: int, calibration: list[str], held: Any, tokens: int, arguments: argparse.Namespace
) -> tuple[Any, Any]:
    """Return an artifact of the model and its in-memory logits on the held-out texts."""
    import torch

    from dqf import registry
    from dqf.artifacts import open_artifact, save_quantized
    from dqf.data.encode import Encoder, length_buckets
    from dqf.data.tasks import Examples
    from dqf.models.loading import load_folder
    from dqf.progress import SilentReporter
    from dqf.quant.model import quantize_model
    from dqf.quant.qparams import Granularity
    from dqf.quant.work import Method
    from dqf.stages.export import complete_artifact
    from dqf.training import predict, to_inputs

    torch.set_num_threads(arguments.threads)
    if (folder / "reference.npy").is_file():
        return open_artifact(folder), np.load(folder / "reference.npy")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    classifier = load_folder(model)
    cpu = torch.device("cpu")
    weights = {}
    if bits < 16:
        encoded = Encoder(model / "tokenizer.json", tokens)(Examples(tuple(calibration), None, np.zeros(64)))
        batches = [
            to_inputs(classifier.model, encoded.batch(rows, classifier.pad_id), cpu)
            for rows in length_buckets(encoded, 16)
        ]
        entry = registry.get("quantizer", arguments.quantizer)
        method = Method(entry, entry.config(), Granularity(bits, GROUP_SIZE))
        weights, _ = quantize_model(classifier.model, method, batches, SilentReporter())
    packed = save_quantized(folder, classifier.model.state_dict(), weights)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(model / name, folder / name)
    artifact = complete_artifact(folder, classifier, packed, {"max_length": tokens})
    encoded = Encoder(model / "tokenizer.json", tokens)(held)
    logits = predict(classifier.model, encoded, classifier.pad_id, cpu, SilentReporter(), exact=True).numpy()
    np.save(folder / "reference.npy", logits)
    return artifact, logits


def _record(name: str, tokens: int, rows: list[dict[str, Any]], threads: int) -> None:
    def fastest(*bits: int) -> dict[str, Any]:
        return min((row for row in rows if row["bits"] in bits and row["faithful"]), key=lambda row: row["ms"])

    four = fastest(4)
    command = "python benchmarks/runtimes.py --model NAME=FOLDER --data DIR"
    for what, peer in (("full_precision", fastest(16)), ("8bit", fastest(8))):
        ratios = np.array(four["times"]) / np.array(peer["times"])
        _results.record(
            f"latency_{name}_{tokens}tokens_4bit_vs_{what}",
            four["ms"],
            peer["ms"],
            f"{peer['bits']}-bit file in {peer['runtime']}; ours is {four['runtime']}",
            unit="ms",
            n=len(ratios),
            spread=float(np.std(ratios) / np.sqrt(len(ratios))),
            command=command,
            threads=threads,
        )


if __name__ == "__main__":
    main()
