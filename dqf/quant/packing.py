"""Dense packing of 8-, 4-, 3- and 2-bit codes: n codes at b bits take ceil(n * b / 8) bytes.

The codes form one little-endian bit stream: code i occupies bits [i*b, (i+1)*b), and bit k of the
stream is bit k % 8 of byte k // 8. At 4 bits that is two codes a byte, low nibble first; at 3 bits,
eight codes in three bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]


def packed_size_bytes(count: int, bits: int) -> int:
    """Return the bytes that `count` codes of `bits` bits take."""
    return -(-count * bits // 8)


def pack(codes: U8, bits: int) -> U8:
    """Pack codes densely.

    Args:
        codes: uint8 of any shape, each below 2^bits.
        bits: 8, 4, 3 or 2.

    Returns:
        uint8 (packed_size_bytes(codes.size, bits),).

    Raises:
        ValueError: a code does not fit.
    """
    flat = np.ascontiguousarray(codes, dtype=np.uint8).reshape(-1)
    if bits < 8 and flat.size and int(flat.max()) >= 2**bits:
        raise ValueError(f"codes must be below 2^bits: got {int(flat.max())} at {bits} bits")
    if bits == 8:
        return flat.copy()
    if bits == 3:
        stream = np.unpackbits(flat[:, None], axis=1, bitorder="little")[:, :3]
        return np.packbits(stream.reshape(-1), bitorder="little")
    per_byte = 8 // bits
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, dtype=np.uint8)
    padded[: flat.size] = flat
    parts = padded.reshape(-1, per_byte)
    packed = np.zeros(len(parts), dtype=np.uint8)
    for i in range(per_byte):
        packed |= np.left_shift(parts[:, i], np.uint8(i * bits))
    return packed


def unpack(packed: U8, bits: int, count: int) -> U8:
    """Undo `pack`.

    Args:
        packed: uint8 as `pack` returned it.
        bits: 8, 4, 3 or 2.
        count: number of codes.

    Returns:
        uint8 (count,).

    Raises:
        ValueError: the bytes are not as many as `count` codes take.
    """
    flat = np.ascontiguousarray(packed, dtype=np.uint8).reshape(-1)
    if flat.size != packed_size_bytes(count, bits):
        raise ValueError(f"{count} codes of {bits} bits take {packed_size_bytes(count, bits)} bytes: got {flat.size}")
    if bits == 8:
        return flat[:count].copy()
    if bits == 3:
        stream = np.unpackbits(flat, bitorder="little")[: count * 3].reshape(-1, 3)
        return np.asarray(stream[:, 0] | (stream[:, 1] << 1) | (stream[:, 2] << 2), dtype=np.uint8)
    per_byte, mask = 8 // bits, 2**bits - 1
    parts = np.empty((flat.size, per_byte), dtype=np.uint8)
    for i in range(per_byte):
        parts[:, i] = (flat >> (i * bits)) & mask
    return parts.reshape(-1)[:count]


def repack(packed: U8, bits: int, to_bits: int, count: int) -> U8:
    """Return the same codes packed with more bits each (3-bit codes as 4-bit ones, say)."""
    return packed if bits == to_bits else pack(unpack(packed, bits, count), to_bits)
