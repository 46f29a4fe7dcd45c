"""Feature distillation: match the teacher's logits and the states of chosen layers.

Reference: Romero et al. (2015), "FitNets: Hints for Thin Deep Nets" (hidden states through a learned projection);
Sun et al. (2019), "Patient Knowledge Distillation for BERT" (several layers, spaced or last); Wang et al. (2020),
"MiniLM" (attention of the last layer, KL divergence).

Deviation: states are pooled to one per sentence, since teacher and student may split texts differently, and the
teacher's are standardized over the training rows, so that a squared error of 1 is what a constant would get.
Attention is averaged over heads, since their numbers may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dqf.errors import UserError
from dqf.fields import setting
from dqf.methods.distillers.logit_kd import LogitKDConfig, logit_distillation_loss
from dqf.models.layer_pairs import NONE, FeaturePlan, layer_pairs
from dqf.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from dqf.models.states import Features

SMALLEST_ATTENTION = 1e-6


@dataclass(frozen=True)
class FeatureKDConfig(LogitKDConfig):
    """Settings of feature distillation: those of logit distillation and what is matched besides."""

    layers: str = setting(
        "uniform",
        "Matched layers",
        "last; uniform (each student layer with the teacher's at the same depth); teacher:student pairs such as "
        "10:2,20:4,30:6; or none.",
        flag="--feature-layers",
        commas=True,
    )
    feature_weight: float = setting(
        1.0,
        "Feature weight",
        "Weight of the matched states, averaged over the pairs of layers.",
        minimum=0.0,
        maximum=1000,
        flag="--feature-weight",
    )
    distance: str = setting(
        "mse",
        "Distance of states",
        "mse (mean squared error) or cosine (1 minus the cosine).",
        choices=("mse", "cosine"),
        flag="--feature-distance",
        advanced=True,
    )
    pooling: str = setting(
        "mean",
        "Pooling",
        "One state per sentence: mean over its tokens, or last: of decoders their last token, of encoders the mean.",
        choices=("mean", "last"),
        flag="--feature-pooling",
        advanced=True,
    )
    attention_weight: float = setting(
        0.0,
        "Attention weight",
        "Weight of the attention of the last pair of layers; needs teacher and student of one tokenizer and "
        "architecture; 0 leaves it out.",
        minimum=0.0,
        maximum=1000,
        flag="--attention-weight",
        advanced=True,
    )


def wants_features(config: FeatureKDConfig) -> bool:
    """Tell whether anything besides logits is matched."""
    return config.layers != NONE or config.attention_weight > 0


def plan_features(config: FeatureKDConfig, teacher_layers: int, student_layers: int) -> FeaturePlan:
    """Return which layers are matched, and how.

    Raises:
        UserError: not a layer map, a layer that is not there, or attention of what goes into the first layer.
    """
    pairs = layer_pairs(config.layers, teacher_layers, student_layers)
    if config.attention_weight and (not pairs or 0 in pairs[-1]):
        raise UserError(
            f"`attention_weight` needs a last pair of layers, 1 or more: got layers {config.layers!r}; use last."
        )
    return FeaturePlan(pairs, config.pooling, config.attention_weight > 0)


@register(
    "distiller",
    "feature-kd",
    title="Feature distillation",
    config=FeatureKDConfig,
    summary="Logit distillation plus the states of chosen teacher layers, through a projection that is learned.",
    needs_features=wants_features,
    feature_plan=plan_features,
)
def feature_distillation_loss(
    logits: Tensor, teacher_logits: Tensor, labels: Tensor, config: FeatureKDConfig, features: Features | None = None
) -> Tensor:
    """Return logit distillation's loss + feature_weight * mean distance + attention_weight * KL of attention.

    Args:
        logits: student's, float (batch, classes) or (batch, 1).
        teacher_logits: cached teacher's, float, same shape.
        labels: int64 (batch,) class numbers, or float (batch,) targets for regression.
        config: weights, distance.
        features: states and attention of this batch; None where no layers are matched.

    Returns:
        Scalar loss.
    """
    loss = logit_distillation_loss(logits, teacher_logits, labels, config)
    if features is None:
        return loss
    distances = [
        _distance(student, teacher, config.distance)
        for student, teacher in zip(features.student, features.teacher, strict=True)
    ]
    loss = loss + config.feature_weight * sum(distances) / len(distances)
    if features.student_attention is not None:
        loss = loss + config.attention_weight * _attention_divergence(features)
    return loss


def _distance(student: Tensor, teacher: Tensor, how: str) -> Tensor:
    from torch.nn import functional

    if how == "cosine":
        return (1 - functional.cosine_similarity(student, teacher, dim=-1)).mean()
    return functional.mse_loss(student, teacher)


def _attention_divergence(features: Features) -> Tensor:
    """Return KL(teacher || student) of what each real token attends to, averaged over real tokens."""
    student, teacher, mask = features.student_attention, features.teacher_attention, features.mask
    if student is None or teacher is None or mask is None:
        raise ValueError("attention of student and teacher, and the mask, come together")
    difference = teacher.clamp_min(SMALLEST_ATTENTION).log() - student.clamp_min(SMALLEST_ATTENTION).log()
    by_token = (teacher * difference).sum(-1)
    return (by_token * mask).sum() / mask.sum()
