"""What can be exported is known before anything is trained, and is what the exporters will say."""

import pytest

from dqf.config import RunConfig
from dqf.exporting.outline import MIXED, outlook
from dqf.models.catalog import starter

FORMS = {
    "FP16 safetensors": (16, 8, 4, 3, 2),
    "ONNX, 4-bit weights": (4, 3, 2),
    "ONNX, 8-bit weights": (16, 8),
    "GPTQ checkpoint": (8, 4, 3, 2),
    "AutoAWQ checkpoint": (4,),
}


def takes(student, **quantization):
    config = RunConfig.from_dict({"quantization": {"bits": [8, 4, 3, 2], **quantization}})
    found = {}
    for row in outlook(config, starter(student).shape):
        found.setdefault(row.form, [])
        if not row.refused:
            found[row.form].append(row.bits)
    return {form: tuple(bits) for form, bits in found.items()}


@pytest.mark.parametrize(
    ("student", "gguf"), [("minilm-l6", ()), ("smollm2-135m", (16, 8, 4, 3, 2))], ids=["encoder", "decoder"]
)
def test_every_form_says_which_bits_it_takes(student, gguf):
    assert takes(student, group_size=32) == {**FORMS, "GGUF": gguf}


def test_input_scales_that_do_not_fold_are_told_before():
    assert takes("minilm-l6", quantizer="awq", group_size=32)["GPTQ checkpoint"] == ()
    assert takes("smollm2-135m", quantizer="awq", group_size=32)["GPTQ checkpoint"] == (8, 4, 3, 2)
    config = RunConfig.from_dict({"quantization": {"quantizer": "awq", "bits": [4]}})
    rows = outlook(config, starter("minilm-l6").shape)
    refused = {row.form: row.refused for row in rows if row.bits == 4}
    assert "quantize with gptq" in refused["GPTQ checkpoint"]
    assert "export as onnx-4bit" in refused["GGUF"]


@pytest.mark.parametrize("budget", [{"average_bits": 3.5}, {"size_budget_mb": 9.0}])
def test_mixed_precision_is_told_too(budget):
    taking = takes("smollm2-135m", group_size=32, **budget)
    assert {form for form, bits in taking.items() if MIXED in bits} == {
        "FP16 safetensors",
        "ONNX, 4-bit weights",
        "GGUF",
    }
    config = RunConfig.from_dict({"quantization": {"bits": [4], "group_size": 32, **budget}})
    refused = {row.form: row.refused for row in outlook(config, starter("minilm-l6").shape) if row.bits == MIXED}
    assert "mixes 2, 3, 4, 8 bits" in refused["GPTQ checkpoint"]
