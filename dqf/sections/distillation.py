"""The section `distillation`: how the student learns from the teacher."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dqf.fields import setting


@dataclass(frozen=True)
class DistillationConfig:
    """How Student-KD learns from the teacher."""

    method: str = setting("logit-kd", "Distillation", "The registered distiller.", flag="--distiller")
    teachers: int = setting(
        1,
        "Averaged teachers",
        "Student-KD learns from the average of so many teachers, fine-tuned with one teacher seed after the other; the "
        "first of them is the one that is reported, and whose states are matched.",
        minimum=1,
        maximum=10,
        flag="--averaged-teachers",
        advanced=True,
    )
    altered_copies: int = setting(
        0,
        "Altered copies",
        "So many copies of each training text with words dropped, replaced or swapped; the teacher scores them and "
        "Student-KD learns from them too, in the same number of steps. 0: none.",
        minimum=0,
        maximum=20,
        flag="--altered-copies",
        advanced=True,
    )
    transfer: str = setting(
        "none",
        "Transfer texts",
        "Texts without labels that the teacher scores and Student-KD learns from too, in the same number of steps: c4, "
        "the training rows of a GLUE task (glue:mnli), or file:PATH with a column `text` and, for tasks of two texts, "
        "`pair`. none: none.",
        flag="--transfer",
        advanced=True,
    )
    transfer_rows: int = setting(
        10_000,
        "Transfer rows",
        "At most so many of the transfer texts, drawn by the data seed.",
        minimum=1,
        maximum=100_000_000,
        flag="--transfer-rows",
        advanced=True,
    )
    options: dict[str, Any] = field(default_factory=dict)
