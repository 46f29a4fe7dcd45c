"""Texts from elsewhere for Student-KD, in the form of its task: single texts, or two each."""

from __future__ import annotations

import numpy as np

from dqf.data.catalog import takes_pairs
from dqf.data.outside import FILE, PAIR_COLUMN, outside_texts, without_reported
from dqf.data.table import columns
from dqf.data.tasks import Examples, Task, hide_labels
from dqf.errors import UserError
from dqf.sections import DistillationConfig
from dqf.settings import Settings

NO_SECOND_TEXTS = (
    "transfer texts of a task of two texts must have two as well: {} has one; take a GLUE task such as glue:mnli, or a "
    f"file with the columns `text` and `{PAIR_COLUMN}`."
)


def transfer_texts(config: DistillationConfig, task: Task, seed: int, settings: Settings) -> Examples:
    """Return at most `transfer_rows` rows without labels; reported ones are never among them.

    For a task of single texts, first and second texts of a source of two are as many rows.

    Args:
        config: names the source.
        task: whose form the rows take.
        seed: of which rows are drawn.
        settings: where data lies.

    Raises:
        UserError: the source is not to be had, holds no text but reported ones, or no second texts.
    """
    found = outside_texts(config.transfer, settings)
    if task.train.pairs is not None and found.pairs is None:
        raise UserError(NO_SECOND_TEXTS.format(config.transfer))
    if task.train.pairs is None and found.pairs is not None:
        # Many rows share a text (a premise has three hypotheses): each counts once.
        texts = tuple(dict.fromkeys(found.texts + found.pairs))
        found = Examples(texts, None, np.zeros(len(texts)))
    found = without_reported(found, task)
    rows = np.random.default_rng(seed).permutation(len(found))[: config.transfer_rows]
    drawn = found.take([int(row) for row in rows])
    unknown = Examples(drawn.texts, drawn.pairs, drawn.labels.astype(task.train.labels.dtype))
    return Examples(drawn.texts, drawn.pairs, hide_labels(unknown, ()))


def check_second_texts(source: str, settings: Settings) -> None:
    """Look whether a source has second texts, as far as files here can tell.

    Raises:
        UserError: it has none, or is a file that cannot be read.
    """
    own = source.startswith(FILE) and PAIR_COLUMN in columns(source.removeprefix(FILE), settings)
    if not own and not takes_pairs(source):
        raise UserError(NO_SECOND_TEXTS.format(source))
