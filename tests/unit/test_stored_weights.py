"""Quantized weights on disk come back as they were."""

import pytest
import torch

from dqf.quant.qparams import Granularity, choose_qparams, quantize
from dqf.quant.stored import TENSORS, StoredWeights


@pytest.mark.parametrize("granularity", [Granularity(4, 8), Granularity(2, 8, True), Granularity(3, 8, scale_bits=4)])
def test_stored_weights_are_those_that_were_given(tmp_path, granularity):
    given = {}
    for name in ("b", "a"):
        weight = torch.randn(6, 16)
        given[name] = quantize(weight, choose_qparams(weight, granularity), granularity)
    stored = StoredWeights(tmp_path / "weights", given)
    assert list(stored) == ["b", "a"]
    assert len(stored) == 2
    for name, one in given.items():
        assert torch.equal(stored[name].dequantize(), one.dequantize())
        assert stored[name].granularity == granularity
        for part in TENSORS:
            mine, other = getattr(stored[name], part), getattr(one, part)
            assert (mine is None) is (other is None)
            assert mine is None or torch.equal(mine, other)


def test_a_weight_that_is_not_there_is_a_key_error(tmp_path):
    with pytest.raises(KeyError):
        StoredWeights(tmp_path / "weights", {})["a"]
