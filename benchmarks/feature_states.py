"""How much of what feature distillation matches is the length of the text.

`DQF_DATA_DIR=... python benchmarks/feature_states.py` prints, for SmolLM2-135M before any fine-tuning and some of its
layers, the share of the standardized states' variance that 1 / length explains (R squared, mean over dimensions): of
the plain mean over a text's tokens, and of the mean that is matched now. The figures of decision 14 and of
docs/studies.md, "Which layers?".
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dqf.config import RunConfig
from dqf.data.encode import Encoder, length_buckets
from dqf.data.load import load_task
from dqf.models.loading import Classifier, load_source
from dqf.models.states import sentence_states
from dqf.settings import Settings, load_settings
from dqf.training import to_inputs

TEACHER = "starter:smollm2-135m"
TASKS = ("sst2", "cola")
LAYERS = (10, 15, 20, 25, 30)
TEXTS = 500


def main() -> None:
    """Print the figures."""
    settings = load_settings()
    for name in TASKS:
        plain, matched, norms = _shares(name, settings)
        for at, layer in enumerate(LAYERS):
            print(
                f"{name}, layer {layer}: 1 / length explains {plain[at]:.2f} of the plain mean's variance, "
                f"{matched[at]:.2f} of what is matched; the first token's norm is {norms[at]:.0f} times the others'"
            )


def _shares(name: str, settings: Settings) -> tuple[list[float], list[float], list[float]]:
    """Return by layer the share of plain means, that of what is matched, and how large the first token is."""
    task = load_task(RunConfig.from_dict({"task": {"source": f"glue:{name}", "train_rows": TEXTS}}), settings)
    with tempfile.TemporaryDirectory() as scratch:
        teacher: Classifier = load_source(TEACHER, task, settings, 0, Path(scratch))
        encoded = Encoder(teacher.tokenizer_json, 128)(task.train)
    plain, matched, norms = [], [], []
    lengths = []
    for rows in length_buckets(encoded, 32):
        batch = to_inputs(teacher.model, encoded.batch(rows, teacher.pad_id), torch.device("cpu"))
        with torch.inference_mode():
            hidden = teacher.model(**batch, output_hidden_states=True).hidden_states
        mask = batch["attention_mask"]
        weights = (mask / mask.sum(1, keepdim=True)).unsqueeze(1).float()
        plain.append(torch.stack([torch.bmm(weights, hidden[layer]).squeeze(1) for layer in LAYERS], 1))
        matched.append(torch.stack(sentence_states(hidden, LAYERS, mask, last=False), 1))
        sizes = torch.stack([hidden[layer].norm(dim=-1) for layer in LAYERS], 1)
        norms.append(sizes[:, :, 0] / sizes[:, :, 1])
        lengths.append(mask.sum(1))
    inverse = 1 / torch.cat(lengths).double().numpy()
    shares = [[_explained(torch.cat(parts)[:, at], inverse) for at in range(len(LAYERS))] for parts in (plain, matched)]
    return shares[0], shares[1], torch.cat(norms).median(0).values.tolist()


def _explained(states: torch.Tensor, inverse: np.ndarray) -> float:
    """Return the mean over dimensions of the squared correlation with 1 / length."""
    wanted = states.double().numpy()
    wanted = (wanted - wanted.mean(0)) / wanted.std(0)
    other = (inverse - inverse.mean()) / inverse.std()
    return float((((wanted * other[:, None]).mean(0)) ** 2).mean())


if __name__ == "__main__":
    main()
