"""From a config's task to its examples."""

from __future__ import annotations

from dataclasses import replace

from dqf.config import RunConfig
from dqf.data.bbc import load_bbc
from dqf.data.catalog import BBC
from dqf.data.glue import load_glue
from dqf.data.table import load_table
from dqf.data.tasks import CLASSIFICATION, Task, check_task, limit_rows, tuning_task
from dqf.settings import Settings

ROW_SEED = 20


def load_task(config: RunConfig, settings: Settings) -> Task:
    """Return the task of a config, limited to its rows and checked.

    The rows depend on `task.seed`, not on the run's seed, so that runs with different seeds can be compared.

    Raises:
        UserError: the data is missing or cannot be learnt from.
    """
    source, row_seed = config.task.source, ROW_SEED + config.task.seed
    if source == BBC:
        task = load_bbc(config.task.seed)
    elif source.startswith("glue:"):
        task = load_glue(source.removeprefix("glue:"), settings)
    else:
        task = load_table(config.task, settings)
    if config.task.split == "tuning":
        task = tuning_task(task, row_seed)
    stratify = task.kind == CLASSIFICATION
    train = limit_rows(task.train, config.task.train_rows, row_seed, stratify)
    evaluation = limit_rows(task.evaluation, config.task.eval_rows, row_seed, stratify)
    extra = {name: limit_rows(part, config.task.eval_rows, row_seed, stratify) for name, part in task.extra.items()}
    notes = [task.note]
    if len(train) < len(task.train):
        notes.append(f"Trained on {len(train)} of {len(task.train)} rows.")
    if len(evaluation) < len(task.evaluation):
        notes.append(f"Scored on {len(evaluation)} of {len(task.evaluation)} rows.")
    note = " ".join(filter(None, notes))
    return check_task(replace(task, train=train, evaluation=evaluation, note=note, extra=extra))
