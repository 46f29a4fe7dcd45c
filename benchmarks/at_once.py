"""One training on all cores beside several at once on a core each, in turns.

    python benchmarks/at_once.py [--steps 20] [--turns 3]

Fine-tunes randomly initialised models of the shapes of SmolLM2-135M and MiniLM-L6 on made-up rows, with the loop of
`dqf/training.py`. The figure is seconds a step of one training, several at once counted as what they get done together.
Figures go to benchmarks/results/training.json.
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
    """Measure all shapes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--train", nargs=3, metavar=("MODEL", "ROWS", "TOKENS"), help="used by the script itself")
    arguments = parser.parse_args()
    if arguments.train:
        model, rows, tokens = arguments.train
        print(seconds_per_step(model, int(rows), int(tokens), arguments.steps))
        return
    from benchmarks._results import record

    cores = len(os.sched_getaffinity(0))
    for model, shapes in BATCHES.items():
        for rows, tokens in shapes:
            taken: dict[int, list[float]] = {1: [], cores: []}
            for _ in range(arguments.turns):
                for at_once in taken:
                    taken[at_once].append(measure(model, rows, tokens, arguments.steps, at_once, cores))
            alone, together = (statistics.median(taken[number]) for number in (1, cores))
            print(f"{model}, {rows} x {tokens}: {1e3 * alone:.0f} ms a step alone, {1e3 * together:.0f} ms at once")
            ratios = [one / other for one, other in zip(taken[cores], taken[1], strict=True)]
            record(
                f"training step, {model}, {rows} rows of {tokens} tokens",
                together,
                alone,
                f"one training on {cores} threads",
                unit="s",
                n=arguments.turns,
                spread=statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else None,
                command=f"python benchmarks/at_once.py --steps {arguments.steps} --turns {arguments.turns}",
                threads=cores,
                file=FILE,
            )


def measure(model: str, rows: int, tokens: int, steps: int, at_once: int, cores: int) -> float:
    """Return the seconds a step takes, divided by the trainings that run at once, each on its share of the cores."""
    command = [sys.executable, __file__, "--steps", str(steps), "--train", model, str(rows), str(tokens)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores // at_once)}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(at_once)]
    found = [float(process.communicate()[0].splitlines()[-1]) for process in processes]
    return statistics.mean(found) / at_once


def seconds_per_step(name: str, rows: int, tokens: int, steps: int) -> float:
    """Train for as many steps twice, the first time to warm up; return the seconds of a step of the second."""
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification, BertConfig, LlamaConfig

    from benchmarks.memory import SHAPES
    from dqf.data.encode import Encoded
    from dqf.pipeline import repeatable_torch
    from dqf.progress import SilentReporter
    from dqf.training import Recipe, train

    if name == "MiniLM-L6":
        config: Any = BertConfig(vocab_size=30522, num_labels=2, **MINILM)
    else:
        config = LlamaConfig(tie_word_embeddings=True, pad_token_id=0, num_labels=2, **SHAPES["135m"])
    with repeatable_torch(int(os.environ["OMP_NUM_THREADS"])), tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
        if name != "MiniLM-L6":
            model.get_input_embeddings().weight.requires_grad_(False)  # as `teacher.freeze_embeddings` does
        ids = np.random.default_rng(0).integers(5, 20_000, (rows * steps, tokens))
        encoded = Encoded(tuple(ids), tuple(np.zeros_like(one) for one in ids))

        def loss_of(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            return logits.square().mean()

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
