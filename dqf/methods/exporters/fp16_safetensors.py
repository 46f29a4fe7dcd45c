"""FP16 safetensors: every weight expanded, for any tool that reads transformers checkpoints."""

from __future__ import annotations

from pathlib import Path

from dqf.artifacts import Artifact
from dqf.exporting.outline import Outline
from dqf.methods.exporters._files import WEIGHTS, Written, transformers_loading, write_config, write_safetensors
from dqf.methods.exporters._weights import half, read_weights
from dqf.registry import NoOptions, register


def refuse(artifact: Outline, options: NoOptions) -> str:
    """Return an empty text: every artifact can be expanded."""
    return ""


@register(
    "exporter",
    "fp16-safetensors",
    title="FP16 safetensors",
    summary="Expands every weight to FP16, in the layout transformers reads.",
    needs=("torch", "transformers"),
    consumer="transformers",
    library="transformers",
    tolerance=0.01,
    refuse=refuse,
)
def write(artifact: Artifact, folder: Path, options: NoOptions) -> Written:
    """Write an artifact as FP16 safetensors.

    Args:
        artifact: FP16 or packed.
        folder: receives `model.safetensors` and `config.json`.
        options: none.

    Returns:
        How to load it, and what was rounded.
    """
    weights = read_weights(artifact)
    notes = []
    if weights.coded:
        notes.append(
            "The quantized weights were expanded and rounded to FP16: the file is as large as the unquantized."
        )
    write_safetensors(folder / WEIGHTS, {name: half(one) for name, one in weights.all_dense().items()})
    write_config(artifact, folder, {"dtype": "float16"})
    loading = transformers_loading(
        artifact,
        "import torch\nfrom transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast",
        "model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()",
    )
    return Written(loading, tuple(notes))
