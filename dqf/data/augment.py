"""Altered copies of training texts, for a teacher to score.

A teacher that has learnt its training rows by heart gives little more than their labels there; on texts it has not
seen it shows what it makes of them. Copies need not be good language, and have no label of their own.

References: Tang et al. (2019), "Distilling Task-Specific Knowledge from BERT into Simple Neural Networks", data
augmentation for distillation; Wei and Zou (2019), "EDA: Easy Data Augmentation Techniques for Boosting Performance on
Text Classification Tasks". New words come from the training texts themselves, so no thesaurus or tagger is needed.
"""

from __future__ import annotations

import numpy as np

from dqf.data.tasks import Examples, hide_labels

CHANGED = 0.1
"""Share of the words that are dropped, as many that are replaced, and as many that change places with the next."""


def altered(examples: Examples, copies: int, seed: int) -> Examples:
    """Return altered copies of all rows without labels: the first of each row, then the second of each, and so on.

    In texts of two or more words at least one place is chosen to change (chance may put the same word there); a single
    word stays as it is. First texts get words of first texts, second texts those of second ones.

    Args:
        examples: training rows.
        copies: of each row.
        seed: of all choices.
    """
    rng = np.random.default_rng(seed)

    def side(texts: tuple[str, ...]) -> tuple[str, ...]:
        pool = [word for text in texts for word in text.split()]
        return tuple(_alter(text.split(), pool, rng) or text for _ in range(copies) for text in texts)

    rows = [row for _ in range(copies) for row in range(len(examples))]
    return Examples(
        side(examples.texts),
        None if examples.pairs is None else side(examples.pairs),
        hide_labels(examples, ())[np.asarray(rows, dtype=np.int64)],
    )


def _alter(words: list[str], pool: list[str], rng: np.random.Generator) -> str:
    """Return the words changed here and there, joined by spaces; empty for fewer than two."""
    if len(words) < 2:
        return ""
    chances = rng.random(len(words))
    chances[rng.integers(len(words) - 1)] *= 3 * CHANGED  # one change for certain
    out: list[str] = []
    for at, word in enumerate(words):
        if chances[at] < CHANGED:
            continue
        if chances[at] < 2 * CHANGED:
            out.append(pool[rng.integers(len(pool))])
        elif chances[at] < 3 * CHANGED and at + 1 < len(words):
            words[at + 1], word = word, words[at + 1]
            out.append(word)
        else:
            out.append(word)
    return " ".join(out or words[:1])
