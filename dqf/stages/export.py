"""Export: a model folder becomes the artifact that ships, with the in-memory model's logits beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dqf.artifacts import WEIGHTS, Artifact, Packed, expected_size_bytes, open_artifact, save_weights, write_manifest
from dqf.data.encode import Encoder
from dqf.data.tasks import CLASSIFICATION, Task, labelled_rows
from dqf.environment import versions
from dqf.models.aliases import without_aliases
from dqf.models.loading import Classifier, load_folder, parameter_count, takes_token_types
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages.quantize import PACKED, RECEIPT
from dqf.training import predict

VERSION = 5
ARTIFACT = "artifact"
REFERENCE = "reference_logits.npy"
PROBE_ROWS, PROBE_SEED = 256, 7


def probe_rows(task: Task) -> list[int]:
    """Return the evaluation rows on which logits are compared: drawn at random, as files may be sorted by class."""
    return labelled_rows(task.evaluation, PROBE_ROWS, PROBE_SEED, task.kind == CLASSIFICATION)


def export_artifact(context: Context, source: Output, variant: dict[str, Any], stage: str) -> Output:
    """Return a folder with `artifact/` and `reference_logits.npy`, those of `probe_rows`.

    Args:
        context: of the run.
        source: model folder, FP16 or packed.
        variant: facts for the manifest: variant, bits, quantizer.
        stage: id of this stage.
    """

    def work(folder: Path) -> dict[str, Any]:
        target = folder / ARTIFACT
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(source.folder / name, target / name)
        classifier, packed = _load(source.folder)
        if packed:
            shutil.copyfile(source.folder / WEIGHTS, target / WEIGHTS)
            shutil.copyfile(source.folder / RECEIPT, target / RECEIPT)
        else:
            stored = without_aliases(classifier.model)
            save_weights(target, {name: weight.numpy().astype(np.float16) for name, weight in stored.items()})
        task = {"name": context.task.name, "kind": context.task.kind, "labels": list(context.task.labels)}
        artifact = complete_artifact(
            target, classifier, packed, {**variant, "max_length": context.config.task.max_length, "task": task}
        )
        _write_reference(context, classifier, folder / REFERENCE)
        return {"size_bytes": artifact.size_bytes, "graph": int(artifact.has_graph)}

    facts = {
        **variant,
        **context.data_facts(),
        **context.numerics(),
        "openvino": versions().get("openvino", ""),
        "task": context.task.name,
    }
    return context.cache.run(stage, version=VERSION, config=facts, inputs=(source,), work=work)


def complete_artifact(
    folder: Path, classifier: Classifier, packed: Mapping[str, Packed], facts: Mapping[str, Any]
) -> Artifact:
    """Add graph and manifest to a folder that holds weights, config and tokenizer; return the artifact.

    Args:
        folder: of the artifact.
        classifier: the model in memory, holding what the weight file stands for.
        packed: which weights are packed, and how.
        facts: for the manifest besides what is known here; `max_length` must be among them.
    """
    params = parameter_count(classifier.model)
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if takes_token_types(classifier.model) else [])]
    graph_error = _export_graph(classifier, inputs, packed, folder)
    packed_params = sum(one.shape[0] * one.shape[1] for one in packed.values())
    write_manifest(
        folder,
        {
            **facts,
            "params": params,
            "inputs": inputs,
            "pad_id": classifier.pad_id,
            "quantized": {name: one.to_dict() for name, one in packed.items()},
            "size_bytes_expected": expected_size_bytes(packed, params - packed_params),
            "graph_error": graph_error,
        },
    )
    return open_artifact(folder, check=False)


def _load(folder: Path) -> tuple[Classifier, dict[str, Packed]]:
    """Return the in-memory model of a model folder and how its weights are packed."""
    if not (folder / PACKED).is_file():
        return load_folder(folder), {}
    raw = json.loads((folder / PACKED).read_text(encoding="utf-8"))
    packed = {name: Packed.from_dict(one) for name, one in raw.items()}
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager", dtype=torch.float32)
    dense = Artifact(folder, {"quantized": raw}).dense()
    model.load_state_dict({name: torch.from_numpy(weight) for name, weight in dense.items()})
    return Classifier(model.eval(), folder / "tokenizer.json", int(config.pad_token_id), True), packed


def _export_graph(classifier: Classifier, inputs: list[str], packed: Mapping[str, Packed], target: Path) -> str:
    """Write the OpenVINO graph; return why not if it cannot be had (torch can still serve the artifact)."""
    try:
        from dqf.runtimes._graph import export_graph

        export_graph(classifier.model, inputs, packed, target)
    except Exception as error:
        return f"{type(error).__name__}: {error}".split("\n")[0][:300]
    return ""


def _write_reference(context: Context, classifier: Classifier, path: Path) -> None:
    probe = context.task.evaluation.take(probe_rows(context.task))
    encoded = Encoder(classifier.tokenizer_json, context.config.task.max_length)(probe)
    logits = predict(classifier.model, encoded, classifier.pad_id, torch.device("cpu"), context.reporter, exact=True)
    np.save(path, logits.numpy())
