"""Logit distillation: match the teacher's softened class distribution.

Reference: Hinton, Vinyals and Dean (2015), "Distilling the Knowledge in a Neural Network",
section 2; the DQF paper's equation for L = (1 - alpha) CE + alpha T^2 KL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqf.data.tasks import UNLABELLED
from dqf.fields import setting
from dqf.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LogitKDConfig:
    """Settings of logit distillation."""

    temperature: float = setting(
        2.0,
        "Temperature",
        "Softens both distributions; 1 leaves them as they are.",
        minimum=0.1,
        maximum=100,
        flag="--temperature",
    )
    alpha: float = setting(
        0.7,
        "Alpha",
        "Weight of the teacher's distribution; 0 is hard labels only, 1 teacher only.",
        minimum=0.0,
        maximum=1.0,
        flag="--alpha",
    )


@register(
    "distiller",
    "logit-kd",
    title="Logit distillation",
    config=LogitKDConfig,
    summary="Cross-entropy with the labels plus KL divergence to the teacher's softened logits.",
)
def logit_distillation_loss(logits: Tensor, teacher_logits: Tensor, labels: Tensor, config: LogitKDConfig) -> Tensor:
    """Return (1 - alpha) * CE(labels) + alpha * T^2 * KL(teacher || student), averaged over the batch.

    For regression (one output) both terms are mean squared errors, and the temperature has no part. Rows without
    a label add nothing to the first term, which stays a sum over the batch divided by its size.

    Args:
        logits: student's, float (batch, classes) or (batch, 1).
        teacher_logits: cached teacher's, float, same shape.
        labels: int64 (batch,) class numbers (`UNLABELLED`: none), or float (batch,) targets for regression (NaN: none).
        config: temperature and alpha.

    Returns:
        Scalar loss.
    """
    from torch.nn import functional

    alpha, temperature = config.alpha, config.temperature
    if logits.shape[-1] == 1:
        known = ~labels.isnan()
        errors = (logits[:, 0] - labels.nan_to_num().float()) * known
        hard = errors.square().mean()
        soft = functional.mse_loss(logits, teacher_logits)
        return (1 - alpha) * hard + alpha * soft
    hard = functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum") / len(labels)
    soft = functional.kl_div(
        functional.log_softmax(logits / temperature, dim=-1),
        functional.log_softmax(teacher_logits / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - alpha) * hard + alpha * temperature**2 * soft
