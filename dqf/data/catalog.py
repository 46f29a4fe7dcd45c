"""Which tasks there are and how their names are spelled; no torch here, the web process uses it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from dqf.errors import did_you_mean

BBC = "starter:bbc-headlines"
PUBLISHED_MODEL = "bert-base-cased"
PUBLISHED_SOURCE = (
    "Hugging Face transformers, examples/pytorch/text-classification/README.md: bert-base-cased on the development "
    "sets, 3 epochs (MRPC and WNLI 5), one seed"
)
TABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class GlueTask:
    """One GLUE task in hub layout (`nyu-mll/glue`).

    Attributes:
        name: config name on the hub.
        text, pair: columns with the texts; pair is None for single sentences.
        labels: class names in label order; empty for regression.
        metric: the primary metric GLUE reports.
        published: score of `PUBLISHED_MODEL` in that metric on GLUE's own split, trained on all of its rows.
        validation: split that is reported.
        extra: ending of a further `validation_` split, scored beside it and no part of the score.
    """

    name: str
    title: str
    text: str
    pair: str | None
    labels: tuple[str, ...]
    metric: str
    published: float
    validation: str = "validation"
    extra: str = ""


GLUE_TASKS: tuple[GlueTask, ...] = (
    GlueTask(
        "cola",
        "CoLA: is the sentence grammatical?",
        "sentence",
        None,
        ("unacceptable", "acceptable"),
        "matthews_corrcoef",
        0.5653,
    ),
    GlueTask(
        "sst2", "SST-2: sentiment of a film review", "sentence", None, ("negative", "positive"), "accuracy", 0.9232
    ),
    GlueTask(
        "mrpc",
        "MRPC: do two sentences mean the same?",
        "sentence1",
        "sentence2",
        ("not_equivalent", "equivalent"),
        "f1",
        0.8885,
    ),
    GlueTask(
        "qqp",
        "QQP: are two questions the same?",
        "question1",
        "question2",
        ("not_duplicate", "duplicate"),
        "f1",
        0.8749,
    ),
    GlueTask(
        "stsb", "STS-B: how alike are two sentences, 0 to 5?", "sentence1", "sentence2", (), "pearson_spearman", 0.8856
    ),
    GlueTask(
        "mnli",
        "MNLI: entailment, matched",
        "premise",
        "hypothesis",
        ("entailment", "neutral", "contradiction"),
        "accuracy",
        0.8391,
        "validation_matched",
        "mismatched",
    ),
    GlueTask(
        "qnli",
        "QNLI: does the sentence answer the question?",
        "question",
        "sentence",
        ("entailment", "not_entailment"),
        "accuracy",
        0.9066,
    ),
    GlueTask("rte", "RTE: entailment", "sentence1", "sentence2", ("entailment", "not_entailment"), "accuracy", 0.6570),
    GlueTask(
        "wnli",
        "WNLI: entailment by pronoun",
        "sentence1",
        "sentence2",
        ("not_entailment", "entailment"),
        "accuracy",
        0.5634,
    ),
)


def glue_task(name: str) -> GlueTask | None:
    """Return a GLUE task by its hub name, None if there is none."""
    return next((task for task in GLUE_TASKS if task.name == name), None)


def short_name(source: str) -> str:
    """Return what tables call a task: `sst2`, `bbc-headlines`, the name of an own file without its ending."""
    kind, _, rest = source.partition(":")
    return PurePath(rest).stem[:40] if kind == "file" else rest


def takes_pairs(source: str, text_pair_column: str = "") -> bool:
    """Tell whether a task's rows are two texts each, from what its config says."""
    task = glue_task(source.removeprefix("glue:")) if source.startswith("glue:") else None
    return bool(task.pair) if task is not None else bool(text_pair_column)


def task_choices() -> tuple[tuple[str, str], ...]:
    """Return (source, title) of every built-in task."""
    return ((BBC, "BBC headlines: 5 topics"), *((f"glue:{task.name}", task.title) for task in GLUE_TASKS))


def check_task_source(source: str) -> str:
    """Return what is wrong with the spelling of a task source, empty if nothing is."""
    if source.startswith("file:"):
        path = source.removeprefix("file:")
        if not path:
            return "must name a file after `file:`: got nothing."
        if not path.lower().endswith(TABLE_SUFFIXES):
            return f"an own file must be one of {', '.join(TABLE_SUFFIXES)}: got {path!r}."
        return ""
    known = [name for name, _ in task_choices()]
    return "" if source in known else f"must be a known task or file:PATH: got {source!r}{did_you_mean(source, known)}"


def check_transfer_source(source: str) -> str:
    """Return what is wrong with the spelling of a source of transfer texts, empty if nothing is."""
    if source.startswith("file:"):
        return check_task_source(source)
    known = ("none", "c4", *(f"glue:{task.name}" for task in GLUE_TASKS))
    hint = did_you_mean(source, known)
    return "" if source in known else f"must be none, c4, a GLUE task (glue:mnli) or file:PATH: got {source!r}{hint}"


def check_calibration_source(source: str) -> str:
    """Return what is wrong with the spelling of a calibration source, empty if nothing is."""
    if source.startswith("file:"):
        return check_task_source(source)
    known = ("training", "c4")
    return "" if source in known else f"must be training, c4 or file:PATH: got {source!r}{did_you_mean(source, known)}"
