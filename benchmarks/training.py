"""How long a step of a training takes: on all cores or beside others on one core each, with compiled blocks or plain.

    python benchmarks/training.py at-once [--steps 20] [--turns 3]
    python benchmarks/training.py compiled [--steps 20] [--turns 3]

Fine-tunes randomly initialised models of the shapes of SmolLM2-135M and MiniLM-L6 on made-up rows, with the loop of
`dqf/training.py`, the two ways in turns. Seconds a step, after as many steps to warm up; of several trainings at once,
what they get done together is counted. `compiled` runs on one core. Figures go to benchmarks/results/training.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
FILE = ROOT / "benchmarks" / "results" / "training.json"
MINILM = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12}
BATCHES = {"SmolLM2-135M": ((16, 12), (16, 70)), "MiniLM-L6": ((32, 12), (32, 50))}
"""(rows, tokens a row): sentences of CoLA, pairs of RTE and QNLI."""


def main() -> None:
    """Measure all shapes one of the two ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("at-once", "compiled"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--train", nargs=4, metavar=("MODEL", "ROWS", "TOKENS", "FORM"), help="used by the script itself"
    )
    arguments = parser.parse_args()
    if arguments.train:
        model, rows, tokens, form = arguments.train
        print(seconds_per_step(model, int(rows), int(tokens), arguments.steps, form == "compiled"))
        return
    for model, shapes in BATCHES.items():
        for rows, tokens in shapes:
            if arguments.what == "at-once":
                _compare_at_once(model, rows, tokens, arguments)
            else:
                _compare_compiled(model, rows, tokens, arguments)


def _compare_at_once(model: str, rows: int, tokens: int, arguments: argparse.Namespace) -> None:
    cores = len(os.sched_getaffinity(0))
    ways = {number: (model, rows, tokens, "plain", arguments.steps, number, cores // number) for number in (cores, 1)}
    title = f"training step, {model}, {rows} rows of {tokens} tokens"
    _record(title, ways, f"one training on {cores} threads", cores, arguments)


def _compare_compiled(model: str, rows: int, tokens: int, arguments: argparse.Namespace) -> None:
    ways = {form: (model, rows, tokens, form, arguments.steps, 1, 1) for form in ("compiled", "plain")}
    title = f"training step, {model}, {rows} rows of {tokens} tokens, compiled blocks"
    _record(title, ways, "plain blocks", 1, arguments)


def _record(title: str, ways: dict[Any, Any], peer: str, threads: int, arguments: argparse.Namespace) -> None:
    """Measure two ways in turns and write down the first beside the second."""
    from benchmarks._results import record

    taken: dict[Any, list[float]] = {way: [] for way in ways}
    for _ in range(arguments.turns):
        for way, measured in ways.items():
            taken[way].append(measure(*measured))
    first, second = taken.values()
    ours, other = statistics.median(first), statistics.median(second)
    print(f"{title}: {1e3 * ours:.0f} ms, {peer} {1e3 * other:.0f} ms", flush=True)
    ratios = [one / two for one, two in zip(first, second, strict=True)]
    record(
        title,
        ours,
        other,
        peer,
        unit="s",
        n=arguments.turns,
        spread=statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else None,
        command=f"python benchmarks/training.py {arguments.what} --steps {arguments.steps} --turns {arguments.turns}",
        threads=threads,
        file=FILE,
    )


def measure(model: str, rows: int, tokens: int, form: str, steps: int, at_once: int, threads: int) -> float:
    """Return the seconds a step takes, divided by the trainings that run at once, each on so many threads."""
    train = ["--train", model, str(rows), str(tokens), form]
    command = [sys.executable, __file__, "compiled", "--steps", str(steps), *train]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(at_once)]
    found = [float(process.communicate()[0].splitlines()[-1]) for process in processes]
    return statistics.mean(found) / at_once


def seconds_per_step(name: str, rows: int, tokens: int, steps: int, compiled: bool) -> float:
    """Train for as many steps twice, the first time to warm up; return the seconds of a step of the second."""
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification, BertConfig, LlamaConfig

    from benchmarks.memory import SHAPES
    from dqf.data.encode import Encoded
    from dqf.models.loading import layer_stack
    from dqf.pipeline import repeatable_torch
    from dqf.progress import SilentReporter
    from dqf.training import Recipe, train

    if name == "MiniLM-L6":
        config: Any = BertConfig(vocab_size=30522, num_labels=2, **MINILM)
    else:
        config = LlamaConfig(tie_word_embeddings=True, pad_token_id=0, num_labels=2, use_cache=False, **SHAPES["135m"])
    with repeatable_torch(int(os.environ["OMP_NUM_THREADS"])), tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
        if name != "MiniLM-L6":
            model.get_input_embeddings().weight.requires_grad_(False)  # as `teacher.freeze_embeddings` does
        ids = np.random.default_rng(0).integers(5, 20_000, (rows * steps, tokens))
        encoded = Encoded(tuple(ids), tuple(np.zeros_like(one) for one in ids))

        def loss_of(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            return logits.square().mean()

        if compiled:
            for block in layer_stack(model)[1]:
                block.compile(dynamic=True)
        taken = 0.0
        for _ in range(2):
            recipe = Recipe(1.0, 1e-5, rows, 0)
            checkpoint = Path(scratch) / "checkpoint.pt"
            taken = train(model, encoded, 0, loss_of, recipe, torch.device("cpu"), checkpoint, SilentReporter())[
                "train_seconds"
            ]
        return taken / steps


if __name__ == "__main__":
    main()
