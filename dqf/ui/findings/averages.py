"""The averages over tasks beside the paper's, and all scores by task; pure pandas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dqf.ui import format as fmt
from dqf.ui import paper
from dqf.ui.findings import tables

Part = Mapping[str, Any]


def averages(part: Part, system: str) -> pd.DataFrame:
    """Return the averages over tasks below the task table: the measured one, and the paper's, labelled.

    The paper's scores by task are not in this project's sources, its averages are.
    """
    row = tables.figures(part, system)
    if row is None:
        return pd.DataFrame()
    names = ("Average", "Source", "Teacher", "Score", "Retention")
    measured = (
        fmt.plural(len(row["tasks"]), "task"),
        "Measured",
        fmt.percent(row["teacher_score"]),
        tables.ranged(fmt.percent(row["score"]), row, "score"),
        tables.ranged(fmt.percent(row["retention"]), row, "retention"),
    )
    teacher, dqf = paper.TEACHER, paper.DQF
    published = (
        "GLUE, 4-bit",
        paper.LABEL,
        fmt.percent(teacher.glue),
        fmt.percent(dqf.glue),
        fmt.percent(dqf.retention(teacher)),
    )
    return pd.DataFrame([measured, published], columns=list(names))


def score_matrix(part: Part) -> pd.DataFrame:
    """Return the scores of all systems task by task in percent, the macro average last."""
    tasks = list(dict.fromkeys(row["task"] for one in part["variants"] for row in one["tasks"]))
    rows = []
    for one in part["variants"]:
        by_task = {row["task"]: 100 * float(row["score"]) for row in one["tasks"]}
        rows.append(
            {
                "Variant": tables.system_title(one),
                **{task: by_task.get(task) for task in tasks},
                "Average": 100 * float(one["score"]),
            }
        )
    return pd.DataFrame(rows)
