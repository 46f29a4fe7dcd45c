"""Passes of a model over many rows that an interrupted run takes up where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from dqf.data.encode import Encoded, length_buckets
from dqf.errors import Cancelled
from dqf.progress import Reporter

KEEP_EVERY_S = 45.0


def batches_left(
    encoded: Encoded, size: int, begun: int, keep: Callable[[int], None], reporter: Reporter
) -> Iterator[list[int]]:
    """Yield row numbers batch by batch, of similar length, without those that an earlier attempt has done.

    Args:
        encoded: token ids of all rows.
        size: rows of a batch.
        begun: batches that are done.
        keep: is given how many batches are done, now and then and before `Cancelled` leaves the caller's loop; writes
            what was made of them to a file.
        reporter: is told of the progress.

    Raises:
        Cancelled: the run was asked to stop; what is done was kept.
    """
    batches = list(length_buckets(encoded, size))
    done = sum(map(len, batches[:begun]))
    if done:
        reporter.message(f"Resumed at row {done} of {len(encoded)}.")
    kept = time.monotonic()
    for at, rows in enumerate(batches[begun:], begun + 1):
        yield rows
        done += len(rows)
        try:
            reporter.progress(done, len(encoded))
        except Cancelled:
            keep(at)
            raise
        if time.monotonic() - kept > KEEP_EVERY_S and at < len(batches):
            keep(at)
            kept = time.monotonic()
