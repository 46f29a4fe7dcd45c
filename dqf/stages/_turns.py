"""Whose turn it is while several serving processes are timed."""

from __future__ import annotations

from collections.abc import Iterator

TURN = 20
"""Examples that one process answers before the next has its turn (decision 4)."""


def turns(names: list[str], count: int, turn: int = TURN) -> Iterator[tuple[str, range]]:
    """Yield who answers which of `count` examples: all names the same ones, each first as often as the others."""
    for begin in range(0, count, turn):
        for name in rotated(names, begin // turn):
            yield name, range(begin, min(begin + turn, count))


def rotated(names: list[str], turn: int) -> list[str]:
    """Return names in the order of a turn."""
    shift = turn % max(len(names), 1)
    return names[shift:] + names[:shift]
