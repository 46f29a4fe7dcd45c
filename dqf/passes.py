"""Passes of a model over many rows that an interrupted run takes up where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dqf.checkpoints import Checkpoints
from dqf.data.encode import Encoded, length_buckets
from dqf.progress import Reporter


def batches_left(
    encoded: Encoded, size: int, begun: int, keep: Callable[[int], None], reporter: Reporter
) -> Iterator[list[int]]:
    """Yield row numbers batch by batch, of similar length, without those that an earlier attempt has done.

    Args:
        encoded: token ids of all rows.
        size: rows of a batch.
        begun: batches that are done.
        keep: is given how many batches are done, as `Checkpoints` says; writes what was made of them to a file.
        reporter: is told of the progress.

    Raises:
        Cancelled: the run was asked to stop; what is done was kept.
    """
    batches = list(length_buckets(encoded, size))
    at, done = begun, sum(map(len, batches[:begun]))
    if done:
        reporter.message(f"Resumed at row {done} of {len(encoded)}.")
    checkpoints = Checkpoints(reporter, lambda: keep(at))
    for rows in batches[begun:]:
        yield rows
        at, done = at + 1, done + len(rows)
        checkpoints.progress(done, len(encoded))
