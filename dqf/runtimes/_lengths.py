"""The lengths that graphs of one fixed length are made for."""

from __future__ import annotations

FINEST = 8
"""Tokens; also how many steps the range up to the next coarser step has."""


def padded_length(tokens: int, longest: int) -> int:
    """Return the length that one row of so many tokens is padded to for a graph of fixed length.

    Steps are 8 tokens up to 64, 16 up to 128, 32 up to 256 and so on: few graphs, and little padding in each. No
    length is above `longest`, the artifact's `max_length`: a network may have no positions beyond it.
    """
    step = FINEST
    while tokens > FINEST * step:
        step *= 2
    return min(-(-tokens // step) * step, longest)
