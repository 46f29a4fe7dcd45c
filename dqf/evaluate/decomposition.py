"""Where the score between teacher and Student-DQF went: smaller student, distillation, quantization, both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dqf.evaluate.evidence import DQF, FT, KD, PTQ, TEACHER, system
from dqf.evaluate.macro import Estimate, MacroResamples, estimate_of

PARTS = ("smaller_student", "distillation", "quantization", "interaction")


def decompose(macro: MacroResamples, bits: str) -> dict[str, Estimate]:
    """Return the parts of the loss from the teacher to Student-DQF, each with its interval.

    A positive part is score lost, a negative one score won back. The four parts add up to `total`:

    * `smaller_student`: teacher - Student-FT, what the smaller model trained on labels alone loses;
    * `distillation`: Student-FT - Student-KD, negative where distillation helps;
    * `quantization`: Student-FT - Student-PTQ, what quantization costs without distillation;
    * `interaction`: (Student-KD - Student-DQF) - (Student-FT - Student-PTQ), what quantization costs the
      distilled student more than the plain one; negative where distillation protects against it.

    Args:
        macro: scores averaged over tasks, or of one task.
        bits: bit-width of the quantized students.
    """
    dqf, ptq = system(DQF, bits), system(PTQ, bits)
    parts: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
        "smaller_student": lambda s: s[TEACHER] - s[FT],
        "distillation": lambda s: s[FT] - s[KD],
        "quantization": lambda s: s[FT] - s[ptq],
        "interaction": lambda s: (s[KD] - s[dqf]) - (s[FT] - s[ptq]),
        "total": lambda s: s[TEACHER] - s[dqf],
    }
    return {name: estimate_of(part, macro) for name, part in parts.items()}
