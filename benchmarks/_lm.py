"""What the language-model benchmarks share: the starter's decoder, text, KL and perplexity."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from dqf.data.encode import Encoded
from dqf.models.catalog import local_model_path
from dqf.models.device import autocast
from dqf.progress import SilentReporter
from dqf.quant.latent import trainable
from dqf.quant.output_tuning import LEARNING_RATE, output_distance
from dqf.quant.qparams import QuantizedWeight
from dqf.settings import load_settings
from dqf.training import Recipe, StateLoss, train

TEACHER = "starter:smollm2-135m"


def write_base(folder: Path) -> Path:
    """Write the starter's decoder as a plain FP16 folder that every tool can load; return the folder."""
    if not (folder / "model.safetensors").is_file():
        path = local_model_path(TEACHER, load_settings())
        assert path is not None
        loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        config = loaded.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.load_state_dict(loaded.state_dict())
        model.tie_weights()
        model.half().save_pretrained(folder)
        AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
    return folder


def load_base(folder: Path) -> PreTrainedModel:
    """Return the decoder in FP32, for evaluation."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model.config.use_cache = False
    return model.eval()


def token_rows(folder: Path, file: Path, rows: int, length: int, column: str = "text") -> list[list[int]]:
    """Return `rows` stretches of `length` tokens of running text from a parquet file, spread over it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [text for text in pd.read_parquet(file)[column].astype(str) if text.strip()]
    stream: list[int] = []
    for text in texts:
        stream.extend(tokenizer(text + "\n", add_special_tokens=False)["input_ids"])
        if len(stream) > 40 * rows * length:
            break
    starts = torch.linspace(0, len(stream) - length - 1, rows).long().tolist()
    if len(stream) < rows * length:
        raise SystemExit(f"{file} has {len(stream)} tokens, {rows * length} are needed")
    return [stream[start : start + length] for start in starts]


@dataclass(frozen=True)
class Reference:
    """Full-precision log-probabilities on held-out text, kept in FP16."""

    rows: list[list[int]]
    log_probabilities: list[Tensor]
    perplexity: float


@torch.inference_mode()
def reference(model: PreTrainedModel, rows: list[list[int]]) -> Reference:
    """Return what full precision says about held-out rows."""
    kept, loss = [], []
    for row in rows:
        logp = log_softmax(model(torch.tensor([row])).logits[0, :-1].float(), -1)
        loss.append(-logp.gather(1, torch.tensor(row[1:])[:, None]).mean().item())
        kept.append(logp.half())
    return Reference(rows, kept, math.exp(sum(loss) / len(loss)))


@torch.inference_mode()
def compare(model: PreTrainedModel, truth: Reference) -> dict[str, Any]:
    """Return mean KL(full precision || model) per token in nats, its standard error over rows, and perplexity."""
    kls, loss = [], []
    for row, expected in zip(truth.rows, truth.log_probabilities, strict=True):
        with autocast(torch.device("cpu")):
            logits = model(torch.tensor([row])).logits[0, :-1]
        logp = log_softmax(logits.float(), -1)
        p = expected.float()
        kls.append((p.exp() * (p - logp)).sum(-1).mean().item())
        loss.append(-logp.gather(1, torch.tensor(row[1:])[:, None]).mean().item())
    values = torch.tensor(kls)
    return {
        "kl": values.mean().item(),
        "kl_se": (values.std() / math.sqrt(len(kls))).item(),
        "kl_rows": kls,
        "perplexity": math.exp(sum(loss) / len(loss)),
    }


def block_linears(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of the transformer blocks by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and ".layers." in name}


def save_weights(model: nn.Module, file: Path) -> None:
    """Write what the block layers' quantized weights stand for, in FP16."""
    save_file({name: m.weight.detach().half().contiguous() for name, m in block_linears(model).items()}, file)


def put_weights(model: nn.Module, file: Path) -> None:
    """Read what a job wrote into a model: its block layers, and norms where the tool changed them."""
    norms = file.with_name("norms.safetensors")
    parameters = dict(model.named_parameters())
    for name, weight in load_file(norms).items() if norms.is_file() else ():
        parameters[name].data.copy_(weight)
    stored = load_file(file)
    layers: Sequence[str] = list(block_linears(model))
    if set(layers) != set(stored):
        raise SystemExit(f"{file} does not hold the weights of all block layers")
    for name, module in block_linears(model).items():
        module.weight.data.copy_(stored[name])


BATCH = 4
"""Stretches of text per step of tuning."""
POSITIONS = 96
"""Of each stretch of text whose logits a step of tuning looks at."""


class _Answers(StateLoss):
    """KL(full precision || model) in nats at a few positions, which change from step to step."""

    def __init__(self, full: PreTrainedModel, rows: Tensor) -> None:
        super().__init__()
        self._full = (full,)  # not a part of this module: it is not trained
        self._rows = rows
        self._positions = torch.empty(0)

    @property
    def wants(self) -> dict[str, Any]:  # type: ignore[override]
        self._positions = torch.randperm(self._rows.shape[1] - 1)[:POSITIONS]
        return {"logits_to_keep": self._positions}

    def forward(self, outputs: Any, attention_mask: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad(), autocast(torch.device("cpu")):
            wanted = self._full[0](self._rows[rows], logits_to_keep=self._positions).logits
        return output_distance(outputs.logits.float().flatten(0, 1), wanted.float().flatten(0, 1)).mean()


class _Printed(SilentReporter):
    """Prints every eighth step: tuning takes long."""

    def progress(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        if step % 8 == 0:
            print(
                f"{time.strftime('%X')} step {step} of {total}, KL {(metrics or {}).get('loss', math.nan):.3f}",
                flush=True,
            )


def tune_outputs(
    model: PreTrainedModel, weights: dict[str, QuantizedWeight], rows: list[list[int]], steps: int, folder: Path
) -> PreTrainedModel:
    """Train a decoder's codes and scales on running text (`dqf.quant.output_tuning`); return it, quantized."""
    full = copy.deepcopy(model)
    ids = tuple(np.array(row) for row in rows)
    encoded = Encoded(ids, tuple(np.zeros_like(row) for row in ids))
    recipe = Recipe(steps / math.ceil(len(rows) / BATCH), LEARNING_RATE, BATCH, 0)
    with trainable(model, weights):
        loss = _Answers(full, torch.tensor(rows))
        train(model, encoded, 0, loss, recipe, torch.device("cpu"), folder / "checkpoint.pt", _Printed())
    return model
