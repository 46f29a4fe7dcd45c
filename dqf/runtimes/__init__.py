"""Runtimes: each loads an artifact and turns token ids into logits.

A runtime is a class registered under kind "runtime", with

    __init__(artifact: Artifact, threads: int, device: str)
    logits(batch: dict[str, int64 (rows, length)]) -> float32 (rows, outputs)

and the facts `loads` (`fp16`, `packed`), `devices` (`cpu`, `cuda`), `needs` (modules) and
`precision` (what it computes in).
"""
