"""The texts whose logits an export must reproduce."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dqf.errors import UserError
from dqf.settings import Settings

ROWS, SEED = 64, 7
SENTENCES = (
    "The film was a quiet triumph, and I would gladly see it again.",
    "Shares fell sharply after the bank warned that profits would be lower.",
    "No.",
    "She scored twice in the last ten minutes to win the cup for the visitors.",
    "A dull, overlong mess that wastes a good cast.",
    "The minister said the new law would come into force next spring.",
    "Researchers have found water ice in a crater that never sees the sun.",
    "It works, but only just.",
    "The company's new phone goes on sale in twelve countries today, a week later than planned.",
    "How long does it take to fly from Lisbon to Oslo?",
    "Rain stopped play for the third day in a row.",
    "Two of the three judges agreed; the third wrote a long dissent.",
    "I have no strong feelings about it either way.",
    "Ticket sales rose by 14 % in the first half of the year, the theatre reported on Monday.",
    "Great food, slow service, and far too loud.",
    "The orchestra will play all nine symphonies within a single week.",
)


@dataclass(frozen=True)
class Probe:
    """Texts to compare logits on.

    Attributes:
        texts: first texts.
        pairs: second texts, None for single texts.
        source: where they come from, for people.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    source: str


def built_in_probe() -> Probe:
    """Return sentences of many lengths and subjects."""
    return Probe(SENTENCES, None, "built-in sentences")


def probe_of_run(run_dir: Path, settings: Settings) -> Probe:
    """Return random evaluation rows of a run's task, or built-in sentences where its data is not here."""
    from dqf.config import RunConfig
    from dqf.data.load import load_task
    from dqf.data.tasks import CLASSIFICATION, labelled_rows
    from dqf.jobs.protocol import read_json

    try:
        task = load_task(RunConfig.from_dict(read_json(run_dir / "config.json") or {}), settings)
    except (UserError, OSError):
        return built_in_probe()
    rows = task.evaluation.take(labelled_rows(task.evaluation, ROWS, SEED, task.kind == CLASSIFICATION))
    return Probe(rows.texts, rows.pairs, f"evaluation rows of {task.name}, drawn at random")
