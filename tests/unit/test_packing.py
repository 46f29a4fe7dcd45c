import numpy as np
import pytest
import torch

from dqf.quant.packing import pack, packed_size_bytes, repack, unpack


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (3, 5), (16, 33), (5, 1)])
def test_round_trip_for_every_width_and_odd_shape(bits, shape):
    codes = np.random.default_rng(0).integers(0, 2**bits, shape).astype(np.uint8)
    packed = pack(codes, bits)
    assert packed.size == packed_size_bytes(codes.size, bits) == -(-codes.size * bits // 8)
    assert np.array_equal(unpack(packed, bits, codes.size), codes.reshape(-1))


def test_bit_order_is_the_documented_one():
    assert list(pack(np.array([1, 2, 3], np.uint8), 4)) == [0x21, 0x03]
    assert list(pack(np.array([1, 2, 3, 0, 1], np.uint8), 2)) == [0b00111001, 0b01]
    stream = int.from_bytes(pack(np.array([5, 1, 7], np.uint8), 3).tobytes(), "little")
    assert stream == 5 | 1 << 3 | 7 << 6


def test_a_code_too_large_is_refused():
    with pytest.raises(ValueError, match="below 2\\^bits"):
        pack(np.array([4], np.uint8), 2)


def test_wrong_length_is_refused():
    with pytest.raises(ValueError, match="take 2 bytes: got 3"):
        unpack(np.zeros(3, np.uint8), 4, 4)


def test_repack_keeps_the_codes():
    codes = np.random.default_rng(1).integers(0, 8, 50).astype(np.uint8)
    assert np.array_equal(unpack(repack(pack(codes, 3), 3, 4, 50), 4, 50), codes)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_torch_unpacks_the_same(bits):
    from dqf.quant.packed_modules import unpack_tensor

    codes = np.random.default_rng(2).integers(0, 2**bits, 41).astype(np.uint8)
    assert np.array_equal(unpack_tensor(torch.from_numpy(pack(codes, bits)), bits, 41).numpy(), codes)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("shape", [(48, 96), (5, 64), (16, 36)])
def test_packed_modules_compute_what_their_codes_stand_for(bits, symmetric, shape):
    from dqf.artifacts import packed_tensors
    from dqf.quant.packed_modules import Int4Linear, pack_modules
    from dqf.quant.qparams import Granularity, choose_qparams, quantize

    torch.manual_seed(0)
    rows, columns = shape
    granularity = Granularity(bits, 0 if columns % 32 else 32, symmetric)
    model = torch.nn.Sequential(torch.nn.Embedding(rows, columns), torch.nn.Linear(columns, rows))
    packed, stored, dense = {}, {}, {}
    for name in ("0.weight", "1.weight"):
        weight = model.get_parameter(name).detach().view(rows, columns)
        one = quantize(weight, choose_qparams(weight, granularity), granularity)
        packed[name], parts = packed_tensors(name, one)
        stored |= parts
        dense[name] = one.dequantize()
    bias = model[1].bias
    ids, x = torch.tensor([[3, 0, 3], [1, 4, 2]]), torch.randn(7, columns)
    pack_modules(model, packed, stored, kernels=True)
    assert isinstance(model[1], Int4Linear) == (bits <= 4 and columns == 96)
    with torch.no_grad():
        assert torch.allclose(model[0](ids), dense["0.weight"][ids], atol=1e-6)
        wanted = x @ dense["1.weight"].T + bias
        assert (model[1](x) - wanted).norm() < (0.01 if bits <= 4 else 1e-5) * wanted.norm()
        # What an encoder's pooler is given: a slice that is not contiguous.
        slices = x.repeat_interleave(2, 0).view(7, 2, columns)[:, 0]
        assert torch.equal(model[1](slices), model[1](x))
