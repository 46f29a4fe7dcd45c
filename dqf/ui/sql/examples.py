"""Queries to begin with, each with the chart that suits it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One query.

    Attributes:
        title: the question it answers.
        sql: the query.
        chart: Bars, Points or Lines; empty for the table alone.
        x, y, color: columns of the chart.
        needs: a table that is not always there.
    """

    title: str
    sql: str
    chart: str = ""
    x: str = ""
    y: str = ""
    color: str = ""
    needs: str = ""


EXAMPLES = (
    Example(
        "What does a bit-width cost?",
        """SELECT bits, variant, avg(retention) AS retention, avg(compression_ratio) AS times_smaller,
       avg(speedup) AS times_faster, count(*) AS runs
FROM variants
WHERE variant <> 'teacher'
GROUP BY bits, variant
ORDER BY bits DESC, variant""",
        "Points",
        "times_smaller",
        "retention",
        "variant",
    ),
    Example(
        "Scores with their intervals",
        """SELECT task, variant, bits, metric, value, ci95_low, ci95_high, n, run_id
FROM scores
ORDER BY task, value DESC""",
        "Bars",
        "variant",
        "value",
        "task",
    ),
    Example(
        "Which answers flipped against the teacher?",
        """SELECT run_id, one.variant_id, task,
       count(*) FILTER (teacher.prediction = teacher.label AND one.prediction <> one.label) AS right_to_wrong,
       count(*) FILTER (teacher.prediction <> teacher.label AND one.prediction = one.label) AS wrong_to_right,
       count(*) AS n
FROM predictions AS one
JOIN predictions AS teacher USING (run_id, task, idx)
WHERE teacher.variant_id = 'teacher' AND one.variant_id <> 'teacher' AND one.confidence IS NOT NULL
GROUP BY ALL
ORDER BY right_to_wrong DESC""",
        "Points",
        "right_to_wrong",
        "wrong_to_right",
        "task",
    ),
    Example(
        "Most confident mistakes",
        """SELECT run_id, variant_id, task, idx, label, prediction, confidence
FROM predictions
WHERE label <> prediction AND confidence IS NOT NULL
ORDER BY confidence DESC
LIMIT 100""",
    ),
    Example(
        "Is confidence earned? Accuracy by confidence",
        """SELECT variant, floor(confidence * 10) / 10 AS confidence_from,
       avg((label = prediction)::INT) AS accuracy, count(*) AS n
FROM predictions JOIN variants USING (run_id, variant_id)
WHERE confidence IS NOT NULL
GROUP BY ALL
ORDER BY ALL""",
        "Lines",
        "confidence_from",
        "accuracy",
        "variant",
    ),
    Example(
        "Confusion matrix of one variant",
        """SELECT task, label, prediction, count(*) AS n
FROM predictions
WHERE run_id = (SELECT max(run_id) FROM variants) AND variant_id = 'teacher'
      AND confidence IS NOT NULL
GROUP BY ALL
ORDER BY task, label, prediction""",
    ),
    Example(
        "Examples that every student gets wrong",
        """SELECT run_id, task, idx, any_value(label) AS label, count(*) AS students
FROM predictions
WHERE variant_id <> 'teacher' AND confidence IS NOT NULL
GROUP BY run_id, task, idx
HAVING bool_and(prediction <> label)
ORDER BY run_id, idx""",
    ),
    Example(
        "Where does the time of a run go?",
        """SELECT title, sum(seconds) AS seconds, count(*) FILTER (cache = 'hit') AS from_cache, count(*) AS stages
FROM stages
GROUP BY title
ORDER BY seconds DESC""",
        "Bars",
        "title",
        "seconds",
    ),
    Example(
        "Settings of each run",
        """SELECT run_id, task, config_json->>'$.distillation.options.temperature' AS temperature,
       config_json->>'$.distillation.options.alpha' AS alpha, config_json->>'$.task.train_rows' AS train_rows
FROM runs
WHERE state = 'succeeded'
ORDER BY run_id DESC""",
    ),
    Example(
        "Studies: accuracy by seed",
        """SELECT study, condition, task, variant, bits, seed,
       avg((label = prediction)::INT) AS accuracy, count(*) AS n
FROM study_predictions
WHERE confidence IS NOT NULL
GROUP BY ALL
ORDER BY ALL""",
        "Points",
        "task",
        "accuracy",
        "variant",
        "study_predictions",
    ),
)
