"""ONNX graphs whose weights are the artifact's codes.

The architecture is traced with weights of no meaning; every initializer is then replaced by the
artifact's tensor of the same name.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dqf.artifacts import Artifact
from dqf.methods.exporters._files import Written, text_arguments
from dqf.methods.exporters._onnx_graph import DOMAIN, Rewriter
from dqf.methods.exporters._weights import Weights

if TYPE_CHECKING:
    import onnx

FILE = "model.onnx"
OPSET = 20
LARGEST_PROTO_BYTES = 1_500_000_000

LOADING = """import numpy as np
import onnxruntime
from tokenizers import Tokenizer

session = onnxruntime.InferenceSession(f"{{folder}}/{file}", providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(f"{{folder}}/tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation({max_length})


def predict(text, pair=None):
    encoding = tokenizer.encode({arguments})
    inputs = {{
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }}
    feeds = {{name.name: np.array([inputs[name.name]], dtype=np.int64) for name in session.get_inputs()}}
    return session.run(None, feeds)[0][0].tolist()


print(predict("A text to classify."))
"""


def write_onnx(artifact: Artifact, weights: Weights, folder: Path, accuracy_level: int) -> Written:
    """Write `model.onnx`.

    Args:
        artifact: gives architecture and inputs.
        weights: what goes into the graph; codes of 8, 4, 3 or 2 bits.
        folder: receives the file.
        accuracy_level: of MatMulNBits: 0 computes in FP32, 4 rounds its inputs to 8 bits.

    Returns:
        How to load it, and what was rounded.
    """
    import onnx

    model = build_onnx(artifact, weights, accuracy_level)
    large = model.ByteSize() > LARGEST_PROTO_BYTES
    onnx.save_model(model, str(folder / FILE), save_as_external_data=large, location=f"{FILE}.data" if large else None)
    loading = LOADING.format(file=FILE, max_length=artifact.manifest["max_length"], arguments=text_arguments(artifact))
    return Written(loading, tuple(weights.notes))


def build_onnx(artifact: Artifact, weights: Weights, accuracy_level: int) -> onnx.ModelProto:
    """Return the graph with an artifact's weights; the arguments are those of `write_onnx`."""
    import onnx

    model = _trace(artifact)
    Rewriter(model, weights, accuracy_level).run()
    model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return model


def _trace(artifact: Artifact) -> onnx.ModelProto:
    """Return the graph of an artifact's architecture, not optimized, so that initializers keep their names."""
    import torch
    from torch import nn
    from transformers import AutoConfig

    from dqf.models.empty import empty_classifier

    inputs = list(artifact.manifest["inputs"])
    config = AutoConfig.from_pretrained(artifact.folder)
    config.use_cache = False
    classifier = empty_classifier(config)

    class Logits(nn.Module):
        """Takes the inputs by position, returns the logits only."""

        def __init__(self) -> None:
            super().__init__()
            self.model = classifier

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return self.model(**dict(zip(inputs, tensors, strict=True))).logits

    example = tuple(torch.ones(2, 9, dtype=torch.long) for _ in inputs)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Logits().eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes={"tensors": tuple(axes for _ in inputs)},
            input_names=inputs,
            output_names=["logits"],
            optimize=False,
            verbose=False,
        )
    assert program is not None  # noqa: S101 - with dynamo it returns the program
    return program.model_proto
