"""Copy a finished run's figures (not its weights) to results/reference: `python benchmarks/publish_run.py RUN_DIR`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

KEPT = (
    "config.json",
    "events.jsonl",
    "result.json",
    "latency.parquet",
    "latency_shared.parquet",
    "throughput.parquet",
    "predictions",
    "receipts",
)


def main() -> None:
    run_dir = Path(sys.argv[1])
    target = Path(__file__).resolve().parent.parent / "results" / "reference" / run_dir.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in KEPT:
        source = run_dir / name
        if source.is_dir():
            shutil.copytree(source, target / name)
        elif source.is_file():
            shutil.copyfile(source, target / name)
    print(target)


if __name__ == "__main__":
    main()
