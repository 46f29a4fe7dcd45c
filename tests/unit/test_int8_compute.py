"""INT8 compute in OpenVINO: integers are multiplied and summed exactly, whatever the processor."""

from __future__ import annotations

import numpy as np
import pytest

from dqf import environment
from dqf.runtimes import _int8
from dqf.runtimes._ov import ops, ov


def multiply(x: np.ndarray, weight: np.ndarray, keep: list) -> np.ndarray:
    """Return inputs (n, columns) times a weight (rows, columns) as the runtime multiplies them."""
    scale = np.abs(x).max(0)
    parameter = ops.parameter([-1, x.shape[1]], np.float32)
    rounded = _int8._round_input(parameter, scale, keep)
    product = ops.matmul(rounded, _int8._int8_weight(weight * scale, keep), False, True)
    compiled = ov.Core().compile_model(ov.Model([product], [parameter]), "CPU", {"INFERENCE_NUM_THREADS": 1})
    return compiled(x)[0]


@pytest.mark.parametrize("seed", range(3))
def test_sums_of_products_at_the_end_of_the_range_are_not_cut_off(seed):
    rng = np.random.default_rng(seed)
    weight = rng.choice([-1.0, -1 / 3, 1 / 3, 1.0], size=(64, 384)).astype(np.float32)  # as 2 bits leave it
    weight[0] = 1.0
    x = rng.uniform(0.5, 1.0, size=(32, 384)).astype(np.float32)
    expected = x.astype(np.float64) @ weight.T
    keep: list = []
    error = np.linalg.norm(multiply(x, weight, keep) - expected) / np.linalg.norm(expected)
    assert error < 0.02


def test_weights_take_half_of_the_range_where_sums_would_be_cut_off(monkeypatch):
    for overflow, most in ((False, 127), (True, 63)):
        monkeypatch.setattr(_int8, "int8_sums_overflow", lambda overflow=overflow: overflow)
        keep: list = []
        _int8._int8_weight(np.linspace(-1, 1, 96, dtype=np.float32).reshape(2, 48), keep)
        assert [np.abs(keep[0]).max(), keep[0].dtype] == [most, np.int8]
    assert 2 * 255 * _int8.LEVELS_OF_OVERFLOWING < 2**15


@pytest.mark.parametrize(
    ("machine", "flags", "overflow"),
    [
        ("x86_64", "avx2 avx512f avx512_vnni", False),
        ("x86_64", "avx2 avx_vnni", False),
        ("x86_64", "avx2 avx512f", True),
        ("AMD64", "", True),
        ("aarch64", "asimd", False),
    ],
)
def test_processors_are_told_apart_by_their_flags(monkeypatch, machine, flags, overflow):
    monkeypatch.setattr(environment.platform, "machine", lambda: machine)
    monkeypatch.setattr(environment, "_cpu_flags", lambda: flags)
    assert environment.int8_sums_overflow() is overflow
