"""Which variants of a run have graphs of fixed length: those of one network in one runtime are judged together."""

from pathlib import Path
from types import SimpleNamespace

from dqf import pipeline
from dqf.config import RunConfig
from dqf.pipeline import Planned
from dqf.stages.record import Measured

BY_VARIANT = {
    "teacher": ("openvino-bf16", 0.9),
    "student-ft": ("openvino-bf16", 0.9),
    "student-kd": ("openvino-bf16", 1.2),  # 1.04 with Student-FT's
    "student-ptq-gptq-8bit": ("openvino-w8a8", 0.8),
    "student-dqf-gptq-8bit": ("openvino-w8a8", 1.1),  # 0.86 with the other two's
    "student-ptq-gptq-4bit": ("openvino-w8a8", 0.72),
    "student-dqf-gptq-4bit": ("openvino-packed", 1.1),
}
"""Runtime, and the time of a graph of fixed length over that of the one for any."""


def evaluated(context, one: Planned, verified: str) -> Measured:
    assert verified == f"verified {one.variant_id}"
    runtime, ratio = BY_VARIANT[one.variant_id]
    found = {"lengths": [8, 16], "any_length_ms_p50": 2.0, "fixed_length_ms_p50": 2.0 * ratio}
    evaluation = SimpleNamespace(folder=Path(), metrics={"peak_rss_bytes": 100, "peak_rss_bytes_with_graphs": 300})
    return Measured(one.variant_id, one.variant, "", 16, evaluation, {}, runtime, evaluation, found)


def test_variants_of_one_network_and_runtime_have_graphs_or_have_none(monkeypatch):
    monkeypatch.setattr(pipeline, "_evaluate", evaluated)
    context = SimpleNamespace(config=RunConfig.from_dict({"quantization": {"bits": [8, 4]}}))
    found = pipeline._evaluate_all(context, {name: f"verified {name}" for name in BY_VARIANT})
    assert [one.variant_id for one in found] == list(BY_VARIANT)
    with_graphs = {one.variant_id for one in found if one.fixed_lengths["lengths"]}
    assert with_graphs == {
        "teacher",
        "student-ptq-gptq-8bit",
        "student-dqf-gptq-8bit",
        "student-ptq-gptq-4bit",
    }
    assert all(one.peak_rss_bytes == (300 if one.variant_id in with_graphs else 100) for one in found)
