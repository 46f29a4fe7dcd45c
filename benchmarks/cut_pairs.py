"""What a decoder's teacher saw of GLUE's pairs while they were joined and cut at their end, and what that did to RTE.

`DQF_DATA_DIR=... python benchmarks/cut_pairs.py` prints, for each task of pairs, how many validation rows lost all of
their second text at 128 tokens of SmolLM2's; for RTE it then scores the committed predictions on the rows that fit.
The figures of docs/studies.md, "A fault in RTE's figures".
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Tokenizer
from transformers import AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dqf.config import RunConfig
from dqf.data.load import load_task
from dqf.data.tasks import Examples
from dqf.models.catalog import starter_path
from dqf.settings import load_settings

TASKS = ("rte", "mnli", "qnli", "mrpc", "stsb", "qqp", "wnli")
MAX_LENGTH = 128


def main() -> None:
    """Print the figures."""
    settings = load_settings()
    path = starter_path("smollm2-135m")
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).backend_tokenizer
    for name in TASKS:
        task = load_task(RunConfig.from_dict({"task": {"source": f"glue:{name}"}}), settings)
        cut, lost = _count(tokenizer, task.evaluation)
        print(f"{name}: {len(cut)} rows, {cut.sum()} cut, {lost.sum()} without any of their second text")
        if name == "rte":
            _, lost_in_training = _count(tokenizer, task.train)
            print(f"  in training {lost_in_training.sum()} of {len(lost_in_training)} without it")
            _score(settings.reference_dir / "predictions" / "rte.parquet", cut, lost)


def _count(tokenizer: Tokenizer, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows were cut, and which of them lost all of their second text."""
    whole = [f"{first}\n{second}" for first, second in zip(examples.texts, examples.pairs or (), strict=True)]
    firsts = [f"{one}\n" for one in examples.texts]
    cut = np.array([len(one.ids) > MAX_LENGTH for one in tokenizer.encode_batch(whole)])
    return cut, np.array([len(one.ids) >= MAX_LENGTH for one in tokenizer.encode_batch(firsts)])


def _score(file: object, cut: np.ndarray, lost: np.ndarray) -> None:
    frame = pd.read_parquet(str(file))
    rows = frame["idx"].to_numpy(dtype=int)
    right = (frame["label"] == frame["prediction"]).to_numpy(dtype=bool)
    for (variant, bits), part in frame.groupby(["variant", "bits"]):
        at = part.index.to_numpy()
        parts = {"all": at, "that fit": at[~cut[rows[at]]], "without the second text": at[lost[rows[at]]]}
        print(
            f"  {variant} {bits}:",
            ", ".join(f"{100 * right[one].mean():.1f} % of rows {what}" for what, one in parts.items()),
        )


if __name__ == "__main__":
    main()
