"""What a study's settings change: each condition's students beside those of one condition, on the same examples.

`python benchmarks/conditions.py FOLDER CONDITION` prints, by variant and bit-width, the paired difference of the macro
average in points with its 95 % interval and p-value (not corrected for their number). docs/studies.md, "Which layers?".
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dqf.evaluate.metrics import metric
from dqf.evaluate.statistics import difference_of, macro_average, resample_task
from dqf.study.files import read_tables


def main() -> None:
    """Print the figures."""
    folder, base = Path(sys.argv[1]), sys.argv[2]
    tables = read_tables(folder)
    metrics = tables.variants.groupby("task")["metric"].first()
    distilled = tables.variants.loc[tables.variants["variant"].isin(["student-kd", "student-dqf"])]
    for variant, bits in distilled[["variant", "bits"]].drop_duplicates().itertuples(index=False):
        tasks = []
        for task, name in metrics.items():
            frame = tables.predictions[str(task)]
            own = frame[(frame["variant"] == variant) & (frame["bits"] == bits)]
            wide = own.pivot_table(index=["seed", "idx"], columns="condition", values="prediction", observed=True)
            seeds = wide.index.get_level_values("seed").unique()
            predictions = {one: wide[one].to_numpy().reshape(len(seeds), -1) for one in wide.columns}
            labels = own[own["condition"] == base].groupby("idx")["label"].first().to_numpy()
            tasks.append(resample_task(metric(str(name)), labels, predictions))
        macro = macro_average(tasks)
        for condition in macro.scores:
            if condition != base:
                found = difference_of(macro, condition, base)
                value, low, high = (f"{100 * one:+.1f}" for one in (found.value, found.low, found.high))
                print(f"{variant} {bits} {condition}: {value} [{low}, {high}], p = {found.p_value:.2f}")


if __name__ == "__main__":
    main()
