"""Teacher outputs: its logits on every row Student-KD learns from, computed once and never in a training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dqf.data.encode import Encoder
from dqf.models.loading import load_folder
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages._transfer import transfer_facts, transfer_set
from dqf.training import predict

VERSION = 1
FILE = "logits.npy"


def compute_teacher_outputs(context: Context, teacher: Output) -> Output:
    """Return a folder with `logits.npy`, float32 (rows of the transfer set, outputs)."""

    def work(folder: Path) -> dict[str, Any]:
        model = load_folder(teacher.folder)
        encoded = Encoder(model.tokenizer_json, context.config.task.max_length)(transfer_set(context))
        logits = predict(model.model, encoded, model.pad_id, context.device, context.reporter).numpy()
        np.save(folder / FILE, logits)
        return {"rows": len(encoded), "tokens": encoded.tokens}

    facts = {**context.data_facts(), **context.numerics(), **transfer_facts(context)}
    return context.cache.run("teacher-outputs", version=VERSION, config=facts, inputs=(teacher,), work=work)
