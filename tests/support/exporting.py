"""Tiny artifacts to export: random classifiers, quantized and packed as the pipeline packs them."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from dqf.exporting.probe import Probe
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


def verify_in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Let exports be verified by the same code without a process of its own, which takes 15 s to import what it needs.

    Args:
        patch: undoes it.
    """
    from dqf import registry
    from dqf.data.encode import Encoder
    from dqf.data.tasks import Examples
    from dqf.exporting import verify
    from dqf.exporting.consumer import main

    def reference(artifact, probe, threads, _scratch, _reporter):  # type: ignore[no-untyped-def]
        runtime = registry.get("runtime", "torch-fp32").target(artifact, threads, "cpu")
        encoder = Encoder(artifact.folder / "tokenizer.json", artifact.manifest["max_length"])
        encoded = encoder(Examples(probe.texts, probe.pairs, np.zeros(len(probe.texts))))
        rows = [runtime.logits(encoded.batch([row], artifact.manifest["pad_id"])) for row in range(len(encoded))]
        return np.concatenate(rows)

    def consume(_entry, code, probe, _threads, scratch):  # type: ignore[no-untyped-def]
        files = [scratch / name for name in ("load.py", "probe.json", "logits.json")]
        files[0].write_text(code, encoding="utf-8")
        files[1].write_text(json.dumps({"texts": probe.texts, "pairs": probe.pairs}), encoding="utf-8")
        patch.setattr(sys, "argv", ["consumer.py", *map(str, files)])
        with contextlib.chdir(scratch):
            main()
        answer = json.loads(files[2].read_text(encoding="utf-8"))
        return np.asarray(answer["logits"], dtype=np.float32), dict(answer["versions"])

    patch.setattr(verify, "_reference", reference)
    patch.setattr(verify, "_consume", consume)
