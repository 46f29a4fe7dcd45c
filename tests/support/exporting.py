"""Tiny artifacts to export: random classifiers, quantized and packed as the pipeline packs them."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

from dqf.exporting import verify
from dqf.exporting.probe import Probe
from dqf.progress import Reporter
from dqf.serving.server import Server
from tests.support.tiny import BAD, GOOD, THINGS, write_bert, write_llama

TEXTS = tuple(
    f"the {THINGS[i % 8]} was {(GOOD + BAD)[i % 12]} and {(BAD + GOOD)[i % 7]} number {i}"[: 200 if i % 3 else 24]
    for i in range(32)
)
PROBE = Probe(TEXTS, None, "tiny sentences")
LABELS = ("a", "b", "c")


def make_artifact(
    root: Path,
    kind: str,
    bits: int | tuple[int, ...],
    group_size: int = 32,
    symmetric: bool = False,
    quantizer: str = "rtn",
    scale_bits: int = 16,
) -> Path:
    """Write the artifact of a random classifier with hidden size 64 and return its folder.

    Args:
        root: receives model and artifact.
        kind: `bert` or `llama`.
        bits: 16 for FP16; several are taken in turn, layer by layer (mixed precision).
        group_size: of the quantizer.
        symmetric: without zero points.
        quantizer: registered name.
        scale_bits: of the quantizer.
    """
    import torch

    from dqf import registry
    from dqf.artifacts import packed_tensors, save_weights
    from dqf.data.encode import Encoder
    from dqf.data.tasks import CLASSIFICATION, Examples, Task
    from dqf.models.loading import load_source, round_to_half
    from dqf.progress import SilentReporter
    from dqf.quant.model import Scope, quantizable, quantize_model
    from dqf.quant.qparams import Granularity
    from dqf.quant.work import Method
    from dqf.settings import Settings
    from dqf.stages.export import complete_artifact
    from dqf.training import to_inputs

    model_folder = (write_bert if kind == "bert" else write_llama)(root / "model", layers=2, hidden=64)
    examples = Examples(TEXTS, None, np.zeros(len(TEXTS), dtype=np.int64))
    task = Task("tiny", CLASSIFICATION, LABELS, "accuracy", examples, examples)
    settings = Settings(root / "results", (), (root,), 1)
    classifier = load_source(str(model_folder), task, settings, 0, root / "scratch")
    torch.manual_seed(1)
    with torch.no_grad():  # untrained norms are all ones and biases zero: exports must carry others
        for name, weight in classifier.model.named_parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight) * (0.2 if "norm" in name.lower() else 0.05))
            elif any(head in name for head in ("classifier", "score")):
                weight.mul_(5)
    round_to_half(classifier.model)
    packed, tensors = {}, {}
    if bits != 16:
        entry = registry.get("quantizer", quantizer)
        encoded = Encoder(classifier.tokenizer_json, 32)(examples)
        batch = encoded.batch(list(range(len(encoded))), classifier.pad_id)
        widths = bits if isinstance(bits, tuple) else (bits,)
        bits_of = dict(zip(quantizable(classifier.model, Scope()), itertools.cycle(widths)))
        granularity = Granularity(min(widths), group_size, symmetric, scale_bits)
        method = Method(entry, entry.config(), granularity, bits_of)
        weights, _ = quantize_model(
            classifier.model.eval(),
            method,
            [to_inputs(classifier.model, batch, torch.device("cpu"))],
            SilentReporter(),
        )
        for name, one in weights.items():
            packed[name], parts = packed_tensors(name, one)
            tensors |= parts
    folder = root / "artifact"
    state = classifier.model.state_dict()
    tensors |= {name: one.numpy().astype(np.float16) for name, one in state.items() if name not in packed}
    save_weights(folder, tensors)
    classifier.model.config.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(classifier.tokenizer_json.read_bytes())
    facts = {"max_length": 32, "task": {"name": task.name, "kind": task.kind, "labels": list(LABELS)}}
    complete_artifact(folder, classifier, packed, facts)
    return folder


class ServedHere:
    """`Served`, without a process of its own."""

    def __init__(self, folder: Path, runtime: str, threads: int, device: str, log: Path, reporter: Reporter) -> None:
        self._server = Server(folder, runtime, threads, device)

    def __enter__(self) -> ServedHere:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def encode(self, examples: Path) -> None:
        self._server.do_encode(str(examples))

    def logits(self, out: Path) -> NDArray[np.float32]:
        self._server.do_logits(None, str(out))
        return np.load(out)


def run_here(command: list[str], *, cwd: Path, stdout: BinaryIO, **_: Any) -> SimpleNamespace:
    """Do what `subprocess.run` does with the consumer's program, without a process of its own."""
    from dqf.exporting.consumer import main

    with contextlib.chdir(cwd), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command[command.index(str(verify.PROGRAM)) :])
        try:
            main()
        except Exception:
            stdout.write(traceback.format_exc().encode())
            return SimpleNamespace(returncode=1)
    return SimpleNamespace(returncode=0)


def verify_in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Let exports be verified by the same code without fresh processes, which import for 15 s what they need.

    Args:
        patch: undoes it.
    """
    patch.setattr(verify, "Served", ServedHere)
    patch.setattr(verify, "subprocess", SimpleNamespace(**{**vars(subprocess), "run": run_here}))
