"""The one training loop: fine-tuning and distillation differ only in their loss."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from dqf.checkpoints import Checkpoints, write_checkpoint
from dqf.data.encode import Encoded, shuffled_buckets
from dqf.errors import UserError
from dqf.memory import PeakMemory
from dqf.models.device import autocast
from dqf.models.loading import takes_token_types
from dqf.passes import batches_left
from dqf.progress import Reporter

WARMUP_SHARE = 0.06
WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0
MASK_64 = 2**63 - 1

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits float32 (batch, outputs), row numbers int64 (batch,)) -> scalar."""


class StateLoss(nn.Module, ABC):
    """A loss that looks inside the model and may have parameters of its own: trained along, then thrown away.

    Attributes:
        wants: keyword arguments that make the model show what it looks at.
    """

    wants: dict[str, bool]

    @abstractmethod
    def forward(self, outputs: Any, attention_mask: Tensor, rows: Tensor) -> Tensor:
        """Return the scalar loss of a batch.

        Args:
            outputs: the model's, as transformers returns them.
            attention_mask: int64 (batch, tokens).
            rows: int64 (batch,) row numbers, on the CPU.
        """


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train."""

    epochs: float
    learning_rate: float
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Past:
    """What earlier attempts of a training did: steps, seconds, tokens, and the losses of the last steps."""

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    losses: list[float] = field(default_factory=list)


def train(
    model: PreTrainedModel,
    encoded: Encoded,
    pad_id: int,
    loss_of: Loss | StateLoss,
    recipe: Recipe,
    device: torch.device,
    checkpoint: Path,
    reporter: Reporter,
) -> dict[str, float]:
    """Train a classifier in place with AdamW, linear warm-up and linear decay.

    Order of batches and dropout depend on seed and step alone, so a resumed training takes the very
    steps an undisturbed one would have taken.

    Args:
        model: FP32 sequence classifier; parameters with `requires_grad=False` stay as they are.
        encoded: token ids of the training rows.
        pad_id: padding token.
        loss_of: loss of a batch; its own parameters, if any, are trained and checkpointed too.
        recipe: epochs, learning rate, batch size, seed.
        device: where to train; BF16 autocast where it is fast.
        checkpoint: file that holds the state of an interrupted training.
        reporter: receives step, loss and learning rate.

    Returns:
        `steps`, `loss` (mean of the last tenth), `tokens_per_second` and `train_seconds` over all attempts
        (but for what was lost since an attempt's last checkpoint), `trained_params` of the model, and
        `peak_memory_bytes` of the last attempt (the process's, or the GPU's).

    Raises:
        UserError: the loss is not finite.
        Cancelled: the run was asked to stop; the checkpoint has been written.
    """
    memory = PeakMemory(device)
    nn.Module.to(model, device).train()
    own = loss_of.to(device) if isinstance(loss_of, StateLoss) else None
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    trained_params = sum(weight.numel() for weight in weights)
    weights += own.parameters() if own is not None else []
    decayed = [weight for weight in weights if weight.ndim > 1]
    plain = [weight for weight in weights if weight.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.999),
        eps=1e-8,
        fused=True,
    )
    per_epoch = math.ceil(len(encoded) / recipe.batch_size)
    total = max(1, round(recipe.epochs * per_epoch))
    past = _restore(checkpoint, model, optimizer, recipe, own)
    step, losses, tokens = past.step, past.losses, past.tokens
    if step:
        reporter.message(f"Resumed at step {step} of {total}.")
    began = time.monotonic()
    tenth = max(1, total // 10)

    def save() -> None:
        seconds = past.seconds + time.monotonic() - began
        _save(checkpoint, model, optimizer, recipe, Past(step, seconds, tokens, losses[-tenth:]), own)

    checkpoints = Checkpoints(reporter, save)
    batches: list[list[int]] = []
    epoch = -1
    while step < total:
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            batches = shuffled_buckets(encoded, recipe.batch_size, recipe.seed, epoch)
        rows = batches[step % per_epoch]
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, total)
        torch.manual_seed((recipe.seed * 1_000_003 + step) & MASK_64)
        batch = to_inputs(model, encoded.batch(rows, pad_id), device)
        with autocast(device):
            outputs = model(**batch, **(own.wants if own is not None else {}))
        if own is not None:
            loss = own(outputs, batch["attention_mask"], torch.tensor(rows))
        else:
            loss = loss_of(outputs.logits.float(), torch.tensor(rows))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(f"the loss must be finite: it was {value} at step {step}; lower the learning rate.")
        losses.append(value)
        tokens += sum(len(encoded.ids[i]) for i in rows)
        checkpoints.progress(step, total, {"loss": value, "learning_rate": optimizer.param_groups[0]["lr"]})
    model.eval()
    last = losses[-tenth:]
    seconds = past.seconds + time.monotonic() - began
    return {
        "steps": float(total),
        "loss": sum(last) / max(len(last), 1),
        "tokens_per_second": tokens / max(seconds, 1e-9),
        "train_seconds": seconds,
        "trained_params": float(trained_params),
        "peak_memory_bytes": float(memory.bytes()),
    }


@torch.inference_mode()
def predict(
    model: PreTrainedModel,
    encoded: Encoded,
    pad_id: int,
    device: torch.device,
    reporter: Reporter,
    *,
    batch_tokens: int = 4096,
    exact: bool = False,
    checkpoint: Path | None = None,
) -> Tensor:
    """Return float32 (examples, outputs) logits, in batches of similar length.

    Args:
        model: sequence classifier.
        encoded: token ids.
        pad_id: padding token.
        device: where to compute.
        reporter: receives progress.
        batch_tokens: most tokens of a batch.
        exact: compute in FP32 even where BF16 is fast.
        checkpoint: file that holds the logits so far if this is interrupted.

    Raises:
        Cancelled: the run was asked to stop; the checkpoint, if any, has been written.
    """
    import contextlib

    nn.Module.to(model, device).eval()
    longest = max(len(ids) for ids in encoded.ids)
    size = max(1, min(128, batch_tokens // longest))
    begun, logits = 0, torch.empty(len(encoded), int(model.config.num_labels or 1))
    if checkpoint is not None and checkpoint.exists():
        past = torch.load(checkpoint, weights_only=True)
        if past["size"] == size:
            begun, logits = past["batches"], past["logits"]

    def keep(batches: int) -> None:
        if checkpoint is not None:
            write_checkpoint(checkpoint, {"size": size, "batches": batches, "logits": logits})

    for rows in batches_left(encoded, size, begun, keep, reporter):
        batch = to_inputs(model, encoded.batch(rows, pad_id), device)
        with contextlib.nullcontext() if exact else autocast(device):
            logits[rows] = model(**batch).logits.float().cpu()
    return logits


def to_inputs(model: PreTrainedModel, batch: dict[str, NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    """Return the tensors a model takes from a padded batch."""
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if takes_token_types(model) else [])]
    return {name: torch.from_numpy(batch[name]).to(device) for name in names}


def _schedule(step: int, total: int) -> float:
    warmup = max(1, round(total * WARMUP_SHARE))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total - step) / max(1, total - warmup))


def _save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    past: Past,
    own: StateLoss | None,
) -> None:
    trained = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    state: dict[str, Any] = {"recipe": asdict(recipe), **asdict(past)}
    if own is not None:
        state["loss"] = own.state_dict()
    write_checkpoint(path, {**state, "model": trained, "optimizer": optimizer.state_dict()})


def _restore(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, own: StateLoss | None
) -> Past:
    """Load an interrupted training's state and return how far it was, nowhere if there is none."""
    if not path.exists():
        return Past()
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != asdict(recipe):
        return Past()
    model.load_state_dict(state["model"], strict=False)
    if own is not None:
        own.load_state_dict(state["loss"])
    optimizer.load_state_dict(state["optimizer"])
    return Past(**{name: state[name] for name in ("step", "seconds", "tokens", "losses") if name in state})
