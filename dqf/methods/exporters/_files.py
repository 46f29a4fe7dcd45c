"""What exporters share: their result, tokenizer and config files, and the code that loads an export again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from dqf.artifacts import Artifact

WEIGHTS = "model.safetensors"

PREDICT = """

def predict(text, pair=None):
    inputs = tokenizer({arguments}, truncation=True, max_length={max_length}, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits[0].tolist()


print(predict("A text to classify."))
"""


@dataclass(frozen=True)
class Written:
    """What an exporter wrote.

    Attributes:
        loading: Python source that loads the export from folder `folder` (its first assignment, added by
            the caller) and defines `predict(text, pair=None)`, which returns the logits of one example.
        notes: sentences on what differs from the artifact, empty where every code was carried over.
    """

    loading: str
    notes: tuple[str, ...] = ()


def transformers_loading(artifact: Artifact, imports: str, model: str) -> str:
    """Return code that loads an export by transformers.

    The tokenizer is not left to AutoTokenizer: for some architectures it builds its own one instead of
    reading `tokenizer.json` as it is.

    Args:
        artifact: whose inputs and length it takes.
        imports: import lines.
        model: lines that define `model`, from `folder`.
    """
    predict = PREDICT.format(arguments=text_arguments(artifact), max_length=artifact.manifest["max_length"])
    return f"{imports}\n\ntokenizer = PreTrainedTokenizerFast.from_pretrained(folder)\n{model}\n{predict}"


def text_arguments(artifact: Artifact) -> str:
    """Return the code that gives `text` and `pair` to a tokenizer; without a mark between them they are joined."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(artifact.folder / "tokenizer.json"))
    marks = tokenizer.num_special_tokens_to_add(True) > 0
    return "text, pair" if marks else 'text if pair is None else f"{text}\\n{pair}"'


def write_tokenizer(artifact: Artifact, folder: Path) -> None:
    """Write `tokenizer.json` and the `tokenizer_config.json` that makes transformers use it as it is."""
    from tokenizers import Tokenizer

    shutil.copyfile(artifact.folder / "tokenizer.json", folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": tokenizer.id_to_token(int(artifact.manifest["pad_id"])),
            "model_max_length": artifact.manifest["max_length"],
            "model_input_names": list(artifact.manifest["inputs"]),
            "padding_side": "right",
        },
    )


def write_config(artifact: Artifact, folder: Path, changes: Mapping[str, Any]) -> None:
    """Write `config.json` with some entries changed, and with the task's own names of classes."""
    config = json.loads((artifact.folder / "config.json").read_text(encoding="utf-8"))
    labels = (artifact.manifest.get("task") or {}).get("labels") or ()
    if labels:
        config["id2label"] = dict(enumerate(labels))
        config["label2id"] = {label: at for at, label in enumerate(labels)}
    write_json(folder / "config.json", {**config, **changes})


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write tensors with the mark that transformers asks for."""
    save_file({name: np.ascontiguousarray(one) for name, one in tensors.items()}, path, metadata={"format": "pt"})
