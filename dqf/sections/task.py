"""The section `task`: what to learn, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

from dqf.fields import setting


@dataclass(frozen=True)
class TaskConfig:
    """What to learn: a task and how much of it."""

    source: str = setting(
        "starter:bbc-headlines",
        "Task",
        "starter:bbc-headlines, a GLUE task (glue:sst2), or file:PATH of a CSV, JSONL or parquet file.",
        flag="--task",
    )
    text_column: str = setting("", "Text column", "Column with the text (own files).", flag="--text-column")
    text_pair_column: str = setting(
        "",
        "Second text column",
        "Column with the second text, if examples are pairs (own files).",
        flag="--text-pair-column",
    )
    label_column: str = setting(
        "", "Label column", "Column with the class or number (own files).", flag="--label-column"
    )
    target: str = setting(
        "auto",
        "Target",
        "Whether the label is a class or a number; auto decides from the column.",
        choices=("auto", "classes", "number"),
        flag="--target",
        advanced=True,
    )
    train_rows: int = setting(
        0,
        "Training rows",
        "At most this many training rows; 0 takes all.",
        minimum=0,
        flag="--train-rows",
        advanced=True,
    )
    eval_rows: int = setting(
        0,
        "Evaluation rows",
        "At most this many evaluation rows; 0 takes all.",
        minimum=0,
        flag="--eval-rows",
        advanced=True,
    )
    split: str = setting(
        "evaluation",
        "Scored on",
        "evaluation scores the reported rows; tuning scores a held-out fifth of the training rows instead.",
        choices=("evaluation", "tuning"),
        flag="--split",
        advanced=True,
    )
    seed: int = setting(
        0,
        "Data seed",
        "Seed of which rows are drawn and held out; the run's own seed never changes them.",
        minimum=0,
        maximum=2**31 - 1,
        flag="--task-seed",
        advanced=True,
    )
    max_length: int = setting(
        128,
        "Longest input",
        "Inputs are cut to this many tokens.",
        minimum=8,
        maximum=8192,
        flag="--max-length",
        advanced=True,
    )
