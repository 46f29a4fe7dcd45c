"""The section `measurement`: what is timed, and where."""

from __future__ import annotations

from dataclasses import dataclass

from dqf.fields import setting


@dataclass(frozen=True)
class MeasurementConfig:
    """How variants are measured."""

    runtime: str = setting(
        "auto",
        "Runtime",
        "auto measures every runtime that can load the artifact and keeps the fastest faithful one.",
        flag="--runtime",
        advanced=True,
    )
    shared_runtime: str = setting(
        "none",
        "Shared runtime",
        "Also times all variants in this one runtime; auto takes one that loads every file: openvino-fp32, on a GPU "
        "torch-fp32. none does not.",
        flag="--shared-runtime",
        advanced=True,
    )
    latency_samples: int = setting(
        200,
        "Latency samples",
        "Real examples timed per variant, batch 1, in turns.",
        minimum=5,
        maximum=100_000,
        flag="--latency-samples",
        advanced=True,
    )
    fixed_length_mb: int = setting(
        256,
        "Memory for graphs of fixed length (MB)",
        "A runtime may compile the commonest text lengths apart, which is faster, each with weights of its own; "
        "0 keeps one graph for any length.",
        minimum=0,
        maximum=100_000,
        flag="--fixed-length-mb",
        advanced=True,
    )
