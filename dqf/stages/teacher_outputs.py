"""Teacher outputs: its logits on every row Student-KD learns from, computed once and never in a training loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dqf.data.encode import Encoder
from dqf.models.loading import load_folder
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages._transfer import Part, transfer_parts
from dqf.training import predict

VERSION = 1
FILE = "logits.npy"


def average_teacher_outputs(context: Context, teachers: Sequence[Output]) -> Output:
    """Return a folder with `logits.npy`: the mean of what all teachers answer, those of the only one if it is alone.

    The softmax of averaged logits is the geometric mean of the teachers' distributions, at any temperature.
    Reference: Hinton, Vinyals and Dean (2015), "Distilling the Knowledge in a Neural Network", section 1.
    """
    stages = ("teacher-outputs", *(f"teacher-outputs:{number}" for number in range(2, len(teachers) + 1)))
    outputs = tuple(
        compute_teacher_outputs(context, teacher, stage) for stage, teacher in zip(stages, teachers, strict=True)
    )
    if len(outputs) == 1:
        return outputs[0]

    def work(folder: Path) -> dict[str, Any]:
        logits = np.stack([np.load(one.folder / FILE) for one in outputs])
        np.save(folder / FILE, logits.mean(0, dtype=np.float32))
        return {"rows": logits.shape[1], "teachers": len(outputs)}

    facts = {"mean": "logits"}
    return context.cache.run("teacher-outputs:mean", version=VERSION, config=facts, inputs=outputs, work=work)


def compute_teacher_outputs(context: Context, teacher: Output, stage: str = "teacher-outputs") -> Output:
    """Return a folder with `logits.npy`, float32 (rows of the transfer set, outputs); `stage` is its id in the run.

    Training rows, altered copies and texts from elsewhere are scored apart, so that runs share what they both have.
    """
    outputs = tuple(_score(context, teacher, part, stage) for part in transfer_parts(context))
    if len(outputs) == 1:
        return outputs[0]

    def work(folder: Path) -> dict[str, Any]:
        logits = np.concatenate([np.load(one.folder / FILE) for one in outputs])
        np.save(folder / FILE, logits)
        return {"rows": len(logits)}

    return context.cache.run(f"{stage}:joined", version=VERSION, config={"joined": "rows"}, inputs=outputs, work=work)


def _score(context: Context, teacher: Output, part: Part, stage: str) -> Output:
    """Return a folder with a teacher's logits on one part of the transfer set."""

    def work(folder: Path) -> dict[str, Any]:
        model = load_folder(teacher.folder)
        encoded = Encoder(model.tokenizer_json, context.config.task.max_length)(part.examples())
        kept = folder / "checkpoint.pt"
        logits = predict(model.model, encoded, model.pad_id, context.device, context.reporter, checkpoint=kept)
        np.save(folder / FILE, logits.numpy())
        kept.unlink(missing_ok=True)
        return {"rows": len(encoded), "tokens": encoded.tokens}

    facts = {**context.data_facts(), **context.numerics(training=True), **part.facts}
    name = f"{stage}:{part.name}" if part.name else stage
    return context.cache.run(name, version=VERSION, config=facts, inputs=(teacher,), work=work)
