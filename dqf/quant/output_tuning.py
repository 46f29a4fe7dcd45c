"""Train all codes and scales of a quantized model together, so that it answers as it did in full precision.

Quantizers and block tuning repair what they see: a layer, a block. At 2 bits most of what is left shows in the
answer only. Here the full-precision model is the teacher of its quantized self, on texts without labels. What
does not bring the answers nearer on texts held back is undone.

Reference: Liu et al. (2023), "LLM-QAT: Data-Free Quantization Aware Training for Large Language Models" (the
full-precision model's outputs as targets); Chen et al. (2024), "EfficientQAT" (training end to end after a local
method). Deviations: codes are trained, too, from the quantizer's on; weights of full precision are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax
from transformers import PreTrainedModel

from dqf.data.encode import Encoded
from dqf.models.device import autocast
from dqf.progress import Reporter, SilentReporter
from dqf.quant.calibration import InputSampler
from dqf.quant.latent import trainable
from dqf.quant.qparams import QuantizedWeight
from dqf.quant.receipts import LayerReceipt, signal, squared_error
from dqf.registry import get as registered
from dqf.training import Recipe, predict, train

LEARNING_RATE = 3e-3
"""Of Adam, in codes per step at most."""
HELD_BACK = 1 / 8
"""Share of the texts that decides whether the result is kept."""
MOST_HELD_BACK = 512


@dataclass(frozen=True)
class TunedOutputs:
    """What the tuning of a model did.

    Attributes:
        weights: by parameter name, changed only if `after` is below `before`.
        before, after: mean distance of the outputs on the texts held back (`output_distance`).
        rows: texts held back.
    """

    weights: dict[str, QuantizedWeight]
    before: float
    after: float
    rows: int


def output_distance(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return float32 (rows,) KL(wanted || logits) in nats; of single outputs, half the squared difference.

    Args:
        logits: (rows, outputs) of the quantized model.
        wanted: float32 (rows, outputs) in full precision.
    """
    if wanted.shape[1] == 1:
        return (logits - wanted).square().sum(1) / 2
    expected = log_softmax(wanted, 1)
    return (expected.exp() * (expected - log_softmax(logits, 1))).sum(1)


def rows_for(steps: int, batch_size: int) -> int:
    """Return how many texts suffice for so many steps that see none twice, those held back included."""
    return math.ceil(steps * batch_size / (1 - HELD_BACK))


def tune_outputs(
    model: PreTrainedModel,
    weights: Mapping[str, QuantizedWeight],
    rest: Mapping[str, Tensor],
    texts: Encoded,
    pad_id: int,
    steps: int,
    batch_size: int,
    device: torch.device,
    checkpoint: Path,
    reporter: Reporter,
) -> TunedOutputs:
    """Tune a classifier's quantized weights.

    Args:
        model: classifier in full precision, FP32; afterwards it holds the quantized weights.
        weights: by parameter name; a tied one stands once.
        rest: the other parameters, which a quantizer may have changed, by name.
        texts: token ids; the last `HELD_BACK` of them decide whether the result is kept.
        pad_id: padding token.
        steps: of Adam.
        batch_size: texts per step.
        device: where to compute.
        checkpoint: file that holds the state of an interrupted tuning.
        reporter: receives steps and losses.
    """
    held = min(MOST_HELD_BACK, max(1, round(HELD_BACK * len(texts))))
    rows = list(range(len(texts)))
    seen, unseen = texts.take(rows[:-held] or rows), texts.take(rows[-held:])
    wanted = predict(model, seen, pad_id, device, SilentReporter())
    wanted_unseen = predict(model, unseen, pad_id, device, SilentReporter())

    def distance() -> float:
        answers = predict(model, unseen, pad_id, device, SilentReporter())
        return float(output_distance(answers, wanted_unseen).mean())

    def loss(logits: Tensor, of: Tensor) -> Tensor:
        return output_distance(logits, wanted[of].to(logits.device)).mean()

    for name, parameter in model.named_parameters():
        if name in rest:
            parameter.data.copy_(rest[name])
    _without_dropout(model)
    with trainable(model, weights) as latents:
        before = distance()
        epochs = steps / math.ceil(len(seen) / batch_size)
        train(model, seen, pad_id, loss, Recipe(epochs, LEARNING_RATE, batch_size, 0), device, checkpoint, reporter)
        tuned = {name: latent.rounded() for name, latent in latents.items()}
    after = distance()
    if not after < before:
        return TunedOutputs(dict(weights), before, before, held)
    return TunedOutputs(tuned, before, after, held)


@torch.inference_mode()
def tuned_receipts(
    receipts: Sequence[LayerReceipt],
    tuned: TunedOutputs,
    model: nn.Module,
    original: Callable[[str], Tensor] | None,
    calibration: Sequence[dict[str, Tensor]],
) -> list[LayerReceipt]:
    """Return receipts of what was kept: where that is new, every layer's error on its inputs in the tuned model.

    Args:
        receipts: of the quantizer.
        tuned: what became of its weights.
        model: holds the tuned weights.
        original: gives the weight in full precision by parameter name; None where an engine has moved scales between
            layers, so that codes and weights cannot be compared layer by layer.
        calibration: batches of model inputs with `attention_mask`.
    """
    told = [replace(one, output_distance_before=tuned.before, output_distance=tuned.after) for one in receipts]
    if original is None or not tuned.after < tuned.before:
        return told
    sampler = InputSampler({name: one for name, one in model.named_modules() if isinstance(one, nn.Linear)}, stop=False)
    with sampler:
        for batch in calibration:
            sampler.start_pass(batch["attention_mask"].bool())
            with autocast(batch["attention_mask"].device):
                model(**batch)
    rtn = registered("quantizer", "rtn")
    made = []
    for receipt in told:
        weight = original(receipt.name).float()
        kept = tuned.weights[receipt.name]
        plain = rtn.target(weight, kept.granularity, None, rtn.config())
        inputs = sampler.found.get(receipt.name.removesuffix(".weight"))
        hessian = None if inputs is None else inputs.hessian
        whole = signal(weight, hessian)
        made.append(
            replace(
                receipt,
                error=squared_error(weight, kept, hessian) / whole,
                error_rtn=squared_error(weight, plain, hessian) / whole,
            )
        )
    return made


def _without_dropout(model: nn.Module) -> None:
    """Let a model in training mode answer as it does in evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
