"""Kill the worker of a tiny real run at random moments and compare what comes out with an undisturbed run.

    python benchmarks/kills.py [--kills 50] [--seed 0] [--work DIR]

Each run is killed (SIGKILL to the group) after a random number of stages and a random time, resumed, and so on until
it succeeds; then the next one begins, with another seed, until there were enough kills. Weights, predictions, scores
and receipts must be those of the same run left alone, and no stage that was done may be done again. It uses tiny
random models and the real worker, pipeline and runtimes; a kill costs some seconds.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dqf.config import RunConfig  # noqa: E402
from dqf.jobs import protocol  # noqa: E402
from dqf.settings import Settings, load_settings  # noqa: E402

MOST_STAGES, LONGEST_S = 4, 1.0
TIMED = ("latency", "speedup", "load_ms", "peak_rss", "throughput", "energy", "fixed_lengths")


def main() -> None:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=None)
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="dqf-kills-"))
    from tests.support.tiny import tiny_config

    os.environ.update(DQF_MODEL_DIRS=str(work), DQF_DATA_DIR=str(work), DQF_THREADS="1", OMP_NUM_THREADS="1")
    work.mkdir(parents=True, exist_ok=True)
    config = tiny_config(work)
    where: collections.Counter[str] = collections.Counter()
    seed = arguments.seed
    while where.total() < arguments.kills:
        where.update(
            kill_one(RunConfig.from_dict({**config, "seed": seed}), work, seed, arguments.kills - where.total())
        )
        print(f"seed {seed}: {where.total()} kills so far, result identical", flush=True)
        seed += 1
    print(json.dumps({"kills": where.total(), "runs": seed - arguments.seed, "stages": dict(where)}))


def kill_one(
    config: RunConfig, work: Path, seed: int, at_most: int, undisturbed: Path | None = None
) -> collections.Counter[str]:
    """Kill one run until it succeeds; return in which stages it was killed.

    Args:
        config: of the run.
        work: folder for its results.
        seed: of the moments.
        at_most: so many kills.
        undisturbed: directory of a run of the same config that was left alone; made if there is none.

    Raises:
        AssertionError: the result differs from that of an undisturbed run, or finished work was lost.
    """
    rng = random.Random(seed)
    alone, disturbed = (load_settings(work / f"{name}-{seed}") for name in ("alone", "disturbed"))
    if undisturbed is None:
        undisturbed = _new(config, alone)
        _start(undisturbed, alone).wait()
    run_dir = _new(config, disturbed)
    where: collections.Counter[str] = collections.Counter()
    while protocol.run_state(run_dir) != protocol.SUCCEEDED:
        kill = where.total() < at_most
        done = _done(disturbed)
        stage = _attempt(run_dir, disturbed, rng if kill else None)
        assert done <= _done(disturbed), "a finished stage was lost"
        if stage:
            where[stage.partition(":")[0]] += 1
            if protocol.run_state(run_dir) != protocol.QUEUED:  # killed before it could say that it works
                protocol.prepare_resume(run_dir)
    _same(undisturbed, run_dir)
    return where


def _new(config: RunConfig, settings: Settings) -> Path:
    return protocol.create_run(settings.runs_dir, config.to_dict(), "kills")


def _start(run_dir: Path, settings: Settings) -> subprocess.Popen[bytes]:
    with (run_dir / "worker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dqf.jobs.worker", str(run_dir)],
            cwd=ROOT,
            env={**os.environ, "DQF_RESULTS_DIR": str(settings.results_dir)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _attempt(run_dir: Path, settings: Settings, rng: random.Random | None) -> str:
    """Let a worker work, until it ends or is killed; return the stage it was killed in, empty if it ended."""
    worker = _start(run_dir, settings)
    if rng is None:
        worker.wait()
        return ""
    missed_before, wanted, moment = _missed(run_dir), rng.randint(0, MOST_STAGES), rng.uniform(0, LONGEST_S)
    while worker.poll() is None and _missed(run_dir) - missed_before < wanted:
        time.sleep(0.05)
    time.sleep(moment)
    if worker.poll() is not None:
        return ""
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    started = [event.stage for event in protocol.read_events(run_dir) if event.kind == "stage_started"]
    if protocol.run_state(run_dir) == protocol.SUCCEEDED:
        return ""
    return started[-1] if started else "start"


def _missed(run_dir: Path) -> int:
    """Return how many stages were computed, over all attempts."""
    events = protocol.read_events(run_dir)
    return sum(event.kind == "stage_done" and event.metrics.get("cache") == "miss" for event in events)


def _done(settings: Settings) -> set[str]:
    return {str(path.parent.relative_to(settings.cache_dir)) for path in settings.cache_dir.glob("*/*/done.json")}


def _same(one: Path, other: Path) -> None:
    results = [protocol.read_json(run / "result.json") for run in (one, other)]
    for left, right in zip(*(result["variants"] for result in results), strict=True):
        assert _figures(left) == _figures(right), left["variant_id"]
        frames = [pd.read_parquet(run / left["predictions"]) for run in (one, other)]
        assert frames[0]["prediction"].equals(frames[1]["prediction"])
        assert np.array_equal(*(np.stack(frame["logits"].to_list()) for frame in frames))
        if left["receipt"]:
            assert protocol.read_json(one / left["receipt"]) == protocol.read_json(other / left["receipt"])


def _figures(variant: dict[str, Any]) -> dict[str, Any]:
    """Return what may not depend on the moment it was measured in."""
    return {name: value for name, value in variant.items() if not name.startswith(TIMED) and "candidates" not in name}


if __name__ == "__main__":
    main()
