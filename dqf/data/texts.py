"""The evaluated texts of a run, for people who read its predictions.

Runs keep no texts; they are read from the run's data source again, in a process of their own: the
training rows, which the fingerprint needs, can be many, and a hub's client is heavy. The hub itself
is not asked, only what lies on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from dqf.config import RunConfig
from dqf.errors import ConfigError, UserError
from dqf.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 180


def evaluation_texts(config: Mapping[str, Any], data_sha256: str, settings: Settings) -> pd.DataFrame:
    """Return the texts of a run's evaluated examples, with the columns text and pair (empty for single texts).

    Args:
        config: of the run.
        data_sha256: what the run says of its data; other data is refused, so that no prediction stands
            beside a text it was not made for.
        settings: name the data folders.

    Raises:
        UserError: the data is not on this machine, is not the run's, or cannot be read.
    """
    folders = os.pathsep.join(str(folder) for folder in settings.data_dirs)
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    environment = {
        **os.environ,
        "DQF_RESULTS_DIR": str(settings.results_dir),
        "DQF_DATA_DIR": folders,
        "PYTHONPATH": paths,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dqf.data.texts"],
            input=json.dumps({"config": config, "data_sha256": data_sha256}).encode(),
            env=environment,
            capture_output=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"reading texts may take {LONGEST_SECONDS} s: this data takes longer; try again.") from None
    head, _, content = done.stdout.partition(b"\n")
    if not head:
        raise UserError("the texts could not be read: the process that reads them ended early; see the memory left.")
    problem = json.loads(head)["error"]
    if problem:
        raise UserError(str(problem))
    frame: pd.DataFrame = pa.ipc.open_stream(content).read_all().to_pandas()
    return frame


def _read(request: Mapping[str, Any]) -> pa.Table:
    from dqf.data.load import load_task

    try:
        config = RunConfig.from_dict(request["config"])
    except ConfigError as error:
        first = error.errors[0]
        raise UserError(f"the run's config must be readable by this version: {first}") from None
    task = load_task(config, load_settings())
    if task.fingerprint() != request["data_sha256"]:
        raise UserError(
            f"the data must be the run's own: what lies on this machine as {config.task.source} differs from it "
            "(its SHA-256 is another), so texts and predictions might not belong together."
        )
    examples = task.evaluation
    pairs = examples.pairs if examples.pairs is not None else [""] * len(examples)
    return pa.table({"text": pa.array(examples.texts, pa.string()), "pair": pa.array(pairs, pa.string())})


def main() -> None:
    """Answer one request on stdin: a JSON line with the error, then the texts as Arrow stream."""
    request = json.loads(sys.stdin.buffer.read())
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between
    problem, table = "", pa.table({})
    try:
        table = _read(request)
    except UserError as error:
        problem = str(error)
    except Exception as error:
        problem = f"the run's data must be readable: {type(error).__name__}, {str(error).splitlines()[0][:200]}."
    stdout.write(json.dumps({"error": problem}).encode() + b"\n")
    with pa.ipc.new_stream(stdout, table.schema) as writer:
        writer.write_table(table)
    stdout.close()


if __name__ == "__main__":
    main()
