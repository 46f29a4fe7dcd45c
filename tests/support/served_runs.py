"""A finished run whose artifacts are real: random tiny classifiers that the serving processes can load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from dqf.artifacts import WEIGHTS, open_artifact
from dqf.jobs import protocol
from tests.support.example_runs import write_example_run
from tests.support.exporting import make_artifact

SERVED = {"teacher": 16, "student-kd": 16, "student-dqf-gptq-4bit": 4}
RUNTIMES = {16: "openvino-fp32", 4: "openvino-packed"}


def write_served_run(runs: Path, scratch: Path, peak_rss_bytes: int = 150_000_000) -> Path:
    """Write a run of three classes whose teacher, Student-KD and Student-DQF can be served.

    Args:
        runs: the folder of run directories.
        scratch: for the models; artifacts made there before are used again.
        peak_rss_bytes: what the result says each one took.
    """
    run_dir = write_example_run(runs, label="served", bits=(4,), n=60)
    for bits in set(SERVED.values()):
        if not (scratch / str(bits) / "artifact").exists():
            make_artifact(scratch / str(bits), "bert", bits)
    result = json.loads((run_dir / "result.json").read_text())
    result["task"]["labels"] = ["a", "b", "c"]
    for row in result["variants"]:
        bits = SERVED.get(row["variant_id"])
        if bits is None:
            continue
        folder = run_dir / row["artifact"]
        shutil.copytree(scratch / str(bits) / "artifact", folder)
        hashes = open_artifact(folder).manifest["files"]
        row |= {"weights_sha256": hashes[WEIGHTS], "runtime": RUNTIMES[bits], "peak_rss_bytes": peak_rss_bytes}
    protocol.write_json(run_dir / "result.json", result)
    return run_dir
