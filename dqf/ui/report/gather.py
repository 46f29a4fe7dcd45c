"""From chosen rows to a report: results and paired tests are read from where the runs lie."""

from __future__ import annotations

import pandas as pd

from dqf.jobs import protocol
from dqf.ui import scored
from dqf.ui.compare import comparisons
from dqf.ui.report import content as report_content
from dqf.ui.report.content import Report
from dqf.ui.studio import Studio


def put_together(studio: Studio, rows: pd.DataFrame, loss: float) -> Report:
    """Return the report of the chosen rows."""
    results = {}
    for run_id in dict.fromkeys(rows["run_id"]):
        run_dir = studio.run_dir(str(run_id))
        result = protocol.read_json(run_dir / "result.json") if run_dir is not None else None
        results[str(run_id)] = result if isinstance(result, dict) else {}
    return report_content.build(rows, results, _differences(studio, rows), loss)


def _differences(studio: Studio, rows: pd.DataFrame) -> pd.DataFrame:
    """Return paired tests of every variant against the teacher of its run, where predictions can be read."""
    found, _ = scored.load(studio, rows)
    teachers = set(rows.loc[rows["variant"] == "teacher", "key"])
    groups, chosen = [], []
    for run_id in dict.fromkeys(rows["run_id"]):
        own = [one for one in found if one.key.startswith(f"{run_id}/")]
        for group in comparisons.groups(own):
            teacher = next((one.key for one in group if one.key in teachers), "")
            if teacher and len(group) > 1:
                groups.append(group)
                chosen += comparisons.pairs([group], teacher)
    return comparisons.compare_pairs(chosen, scored.resampled(studio, groups)) if chosen else pd.DataFrame()
