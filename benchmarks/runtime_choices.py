"""Which runtimes serve the quantized students of the reference study, and how fast they are there.

`python benchmarks/runtime_choices.py [FOLDER]` reads the committed tables of a study: it prints, by bit-width and
runtime, how many variants it serves and how many times as fast as the teacher they are on average (medians of single
texts); then, for variants that another runtime serves than most, how fast those of the same runs are that most are
served by. Decision 3.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dqf.evaluate.evidence import FASTEST, TEACHER
from dqf.settings import load_settings
from dqf.study.files import read_summary, read_tables

RUN = ["condition", "task", "seed"]


def main() -> None:
    """Print the figures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else load_settings().reference_dir
    tables, summary = read_tables(folder), read_summary(folder) or {}
    elsewhere = list(summary.get("baseline", {}).get("timed_elsewhere", ()))
    if elsewhere:
        print(f"without {', '.join(elsewhere)}: timed on another machine")
    timed = tables.latency[tables.latency["session"] == FASTEST]
    ms = timed.groupby([*RUN, "variant", "bits"])["ms"].median().rename("ms").reset_index()
    rows = tables.variants[~tables.variants["task"].isin(elsewhere)].merge(ms, on=[*RUN, "variant", "bits"])
    teacher = rows.loc[rows["variant"] == TEACHER, [*RUN, "ms"]].rename(columns={"ms": "teacher_ms"})
    rows = rows[rows["quantizer"].notna()].merge(teacher, on=RUN)
    rows["speedup"] = rows["teacher_ms"] / rows["ms"]
    print(rows.groupby(["bits", "runtime"])["speedup"].agg(["count", "mean"]).round(2).to_string())
    usual = rows["runtime"].mode()[0]
    siblings = rows[rows["runtime"] == usual].groupby(RUN)["speedup"].mean().rename("siblings").reset_index()
    others = rows[rows["runtime"] != usual].merge(siblings, on=RUN, how="left")
    print(f"{usual}: {len(rows) - len(others)} of {len(rows)}")
    for name, part in [*others.groupby("runtime"), ("all others", others)]:
        own, beside = part["speedup"].mean(), part["siblings"].mean()
        print(f"{name}: {len(part)}, {own:.2f}; served by {usual} in the same runs: {beside:.2f}")


if __name__ == "__main__":
    main()
