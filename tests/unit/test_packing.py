import numpy as np
import pytest

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
    torch = pytest.importorskip("torch")
    from dqf.quant.packed_modules import unpack_tensor

    codes = np.random.default_rng(2).integers(0, 2**bits, 41).astype(np.uint8)
    assert np.array_equal(unpack_tensor(torch.from_numpy(pack(codes, bits)), bits, 41).numpy(), codes)
