"""Teacher features: its states on every row Student-KD learns from, computed once, never in a training loop."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoConfig

from dqf.data.encode import Encoded, Encoder
from dqf.jobs.protocol import read_json, write_json
from dqf.models.catalog import TEACHER_LAYERS, chosen_layers, read_shape, shape_from_config
from dqf.models.device import autocast
from dqf.models.layer_pairs import FeaturePlan, feature_plan, needs_features
from dqf.models.loading import Classifier, load_folder, read_folder_config
from dqf.models.states import mean_attention, reads_left_to_right, sentence_states
from dqf.passes import batches_left
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages._transfer import transfer_facts, transfer_set
from dqf.training import to_inputs

VERSION = 2
STATES = "states.npy"
MOMENTS = "states_mean_sd.npy"
ATTENTION = "attention.npy"
KEPT = "checkpoint.json"
BATCH_TOKENS = 4096
CHUNK_ROWS = 4096
HALF_MAX = 65504.0


def compute_teacher_features(context: Context, teacher: Output) -> Output | None:
    """Return a folder with what the distiller wants to see of the teacher; None where it wants nothing.

    `states.npy` is float16 (rows of the transfer set, layers, width), one state per sentence; `states_mean_sd.npy`
    float32 (2, layers, width); `attention.npy`, where wanted, float16: the (tokens, tokens) maps of all rows, run
    together.
    """
    if not needs_features(context.config):
        return None
    plan = plan_of(context, teacher)

    def work(folder: Path) -> dict[str, Any]:
        model = load_folder(teacher.folder)
        encoded = Encoder(model.tokenizer_json, context.config.task.max_length)(transfer_set(context))
        states = _copy_states(context, facts, folder)
        if states is None:
            states = _predict_states(context, model, encoded, plan, folder)
        np.save(folder / MOMENTS, _mean_and_sd(states))
        (folder / KEPT).unlink(missing_ok=True)
        return {"rows": len(encoded), "layers": len(plan.teacher_layers), "token_ids_sha256": tokens_digest(encoded)}

    wanted = {**dataclasses.asdict(plan), "pairs": plan.teacher_layers}
    if plan.attention and plan.pairs[-1][0] != plan.teacher_layers[-1]:  # pairs that cross
        wanted["attention_of"] = plan.pairs[-1][0]
    facts = {
        "teacher": teacher.key,
        **context.data_facts(),
        **context.numerics(training=True),
        **transfer_facts(context),
        **wanted,
    }
    return context.cache.run("teacher-features", version=VERSION, config=facts, inputs=(teacher,), work=work)


def plan_of(context: Context, teacher: Output) -> FeaturePlan:
    """Return the layers to match, of the teacher in its folder and the student to come."""
    student = context.config.student
    teacher_layers = shape_from_config(read_folder_config(teacher.folder)).layers
    if student.model == TEACHER_LAYERS:
        student_layers = len(chosen_layers(student.keep_layers, teacher_layers))
    else:
        shape = read_shape(student.model, context.settings)
        if shape is None:
            shape = shape_from_config(AutoConfig.from_pretrained(student.model, trust_remote_code=False).to_dict())
        student_layers = shape.layers
    return feature_plan(context.config, teacher_layers, student_layers)


def tokens_digest(encoded: Encoded) -> str:
    """Return the SHA-256 of all token ids: the same for two tokenizers that split these texts alike."""
    digest = hashlib.sha256()
    for ids in encoded.ids:
        digest.update(len(ids).to_bytes(4, "little") + ids.tobytes())
    return digest.hexdigest()


def attention_offsets(encoded: Encoded) -> NDArray[np.int64]:
    """Return int64 (rows + 1,): where each row's map begins in `attention.npy`."""
    return np.concatenate([[0], np.cumsum([len(ids) ** 2 for ids in encoded.ids])]).astype(np.int64)


def _copy_states(context: Context, facts: Mapping[str, Any], folder: Path) -> NDArray[np.float16] | None:
    """Write the states of layers that were computed with others, and return them; None where some were not.

    Runs that differ in the layers they match, as in a study of them, would each pass all rows through the teacher.
    """
    if facts["attention"]:
        return None
    layers, same = facts["pairs"], json.loads(json.dumps({**facts, "pairs": None}))
    for found, config in context.cache.finished("teacher-features"):
        if {**config, "pairs": None} != same or not set(layers) <= set(config["pairs"]):
            continue
        try:
            source = np.load(found / STATES, mmap_mode="r")
        except FileNotFoundError:  # deleted meanwhile
            continue
        columns = [config["pairs"].index(layer) for layer in layers]
        states = np.lib.format.open_memmap(
            folder / STATES, "w+", np.float16, (len(source), len(layers), source.shape[2])
        )
        for start in range(0, len(source), CHUNK_ROWS):
            states[start : start + CHUNK_ROWS] = source[start : start + CHUNK_ROWS, columns]
        states.flush()
        return states
    return None


@torch.inference_mode()
def _predict_states(
    context: Context, classifier: Classifier, encoded: Encoded, plan: FeaturePlan, folder: Path
) -> NDArray[np.float16]:
    """Write states and attention row by row to their files, where an earlier attempt stopped, and return the states."""
    model, layers = classifier.model, plan.teacher_layers
    nn.Module.to(model, context.device).eval()
    last = plan.pooling == "last" and reads_left_to_right(model)
    longest = max(len(ids) for ids in encoded.ids)
    size = max(1, min(128, BATCH_TOKENS // longest))
    past = read_json(folder / KEPT) or {}
    begun = past["batches"] if past.get("size") == size else 0
    mode: Literal["r+", "w+"] = "r+" if begun else "w+"
    shape = (len(encoded), len(layers), model.config.hidden_size)
    states = np.lib.format.open_memmap(folder / STATES, mode, np.float16, shape)
    offsets = attention_offsets(encoded)
    maps = None
    if plan.attention:
        maps = np.lib.format.open_memmap(folder / ATTENTION, mode, np.float16, (int(offsets[-1]),))

    def flush() -> None:
        states.flush()
        if maps is not None:
            maps.flush()

    def keep(batches: int) -> None:
        flush()
        write_json(folder / KEPT, {"size": size, "batches": batches})

    for rows in batches_left(encoded, size, begun, keep, context.reporter):
        batch = to_inputs(model, encoded.batch(rows, classifier.pad_id), context.device)
        with autocast(context.device):
            out = model(**batch, output_hidden_states=True, output_attentions=plan.attention)
        found = torch.stack(sentence_states(out.hidden_states, layers, batch["attention_mask"], last), 1)
        states[rows] = found.clamp(-HALF_MAX, HALF_MAX).half().cpu().numpy()
        if maps is not None:
            attention = mean_attention(out.attentions, plan.pairs[-1][0]).half().cpu().numpy()
            for row, one in zip(rows, attention, strict=True):
                length = len(encoded.ids[row])
                maps[offsets[row] : offsets[row + 1]] = one[:length, :length].ravel()
    flush()
    return states


def _mean_and_sd(states: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return float32 (2, layers, width), in one pass that never holds all rows in memory."""
    total = np.zeros(states.shape[1:])
    squares = np.zeros(states.shape[1:])
    for start in range(0, len(states), CHUNK_ROWS):
        part = states[start : start + CHUNK_ROWS].astype(np.float64)
        total += part.sum(0)
        squares += (part**2).sum(0)
    mean = total / len(states)
    variance = np.maximum(squares / len(states) - mean**2, 0.0)
    return np.stack([mean, np.sqrt(variance)]).astype(np.float32)
