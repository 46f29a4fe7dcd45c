"""The loss of a distiller that looks at states: cached teacher's beside the student's of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dqf import registry
from dqf.data.encode import Encoded
from dqf.errors import UserError
from dqf.models.layer_pairs import DIFFERENT_TOKENS, FeaturePlan
from dqf.models.loading import Classifier
from dqf.models.states import Features, mean_attention, reads_left_to_right, sentence_states
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages.teacher_features import ATTENTION, MOMENTS, STATES, attention_offsets, tokens_digest
from dqf.training import StateLoss

SMALLEST_SD = 1e-3


class MatchingLoss(StateLoss):
    """A distiller's loss over logits and states, with the projections it learns.

    Attributes:
        projections: one linear layer per pair from the student's width to the teacher's; none where they are equal.
        mean, sd: of the teacher's states over the training rows, float32 (layers, width).
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self,
        context: Context,
        plan: FeaturePlan,
        student: Classifier,
        encoded: Encoded,
        teacher_logits: Tensor,
        labels: Tensor,
        features: Output,
    ) -> None:
        """Open the teacher's cached states and make the projections.

        Args:
            context: of the run.
            plan: what is matched.
            student: to be trained.
            encoded: the rows of its transfer set.
            teacher_logits: float32 (rows, outputs).
            labels: int64 or float64 (rows,), hidden ones as `hide_labels` marks them.
            features: output of `compute_teacher_features`.

        Raises:
            UserError: attention is wanted and the two models split the texts differently.
        """
        super().__init__()
        if plan.attention and features.metrics["token_ids_sha256"] != tokens_digest(encoded):
            raise UserError(f"`attention_weight` {DIFFERENT_TOKENS}")
        self.wants = {"output_hidden_states": True, "output_attentions": plan.attention}
        self._distiller = registry.get("distiller", context.config.distillation.method).target
        self._options = context.config.distiller_options()
        self._plan = plan
        self._last = plan.pooling == "last" and reads_left_to_right(student.model)
        self._teacher_logits = teacher_logits
        self._labels = labels
        self._states = np.load(features.folder / STATES, mmap_mode="r")
        self._place = [plan.teacher_layers.index(teacher) for teacher, _ in plan.pairs]
        self._maps = np.load(features.folder / ATTENTION, mmap_mode="r") if plan.attention else None
        self._offsets = attention_offsets(encoded)
        mean, sd = torch.from_numpy(np.load(features.folder / MOMENTS))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("sd", sd.clamp_min(SMALLEST_SD), persistent=False)
        width, wanted = student.config.hidden_size, self._states.shape[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.config.seed)
            pairs = plan.pairs if width != wanted else ()
            self.projections = nn.ModuleList([nn.Linear(width, wanted) for _ in pairs])

    def forward(self, outputs: Any, attention_mask: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of a batch."""
        logits = outputs.logits.float()
        device = logits.device
        layers = [layer for _, layer in self._plan.pairs]
        states = sentence_states(outputs.hidden_states, layers, attention_mask, self._last)
        teacher = torch.from_numpy(self._states[rows.numpy()].astype(np.float32)).to(device)
        teacher = (teacher - self.mean) / self.sd
        features = Features(
            student=tuple(self._projected(pair, state) for pair, state in enumerate(states)),
            teacher=tuple(teacher[:, place] for place in self._place),
            student_attention=mean_attention(outputs.attentions, layers[-1]) if self._plan.attention else None,
            teacher_attention=self._attention(rows, attention_mask),
            mask=attention_mask,
        )
        loss: Tensor = self._distiller(
            logits, self._teacher_logits[rows].to(device), self._labels[rows].to(device), self._options, features
        )
        return loss

    def _projected(self, pair: int, state: Tensor) -> Tensor:
        """Bring the student's states into the teacher's standardized space; equal widths need no projection."""
        if self.projections:
            projected: Tensor = self.projections[pair](state)
            return projected
        place = self._place[pair]
        return (state - self.mean[place]) / self.sd[place]

    def _attention(self, rows: Tensor, mask: Tensor) -> Tensor | None:
        """Return the teacher's maps of a batch, float32 (batch, tokens, tokens), zero where there is padding."""
        if self._maps is None:
            return None
        maps = torch.zeros(len(rows), mask.shape[1], mask.shape[1])
        for at, row in enumerate(rows.tolist()):
            flat = self._maps[self._offsets[row] : self._offsets[row + 1]].astype(np.float32)
            length = int(len(flat) ** 0.5 + 0.5)
            maps[at, :length, :length] = torch.from_numpy(flat).view(length, length)
        return maps.to(mask.device)
