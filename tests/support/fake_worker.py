"""A worker whose pipeline only sleeps: `python -m tests.support.fake_worker RUN_DIR`.

The config steers it: `seed` is the number of steps of 20 ms per stage, `preset` what goes wrong; seed 13 is refused.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from dqf.config import RunConfig
from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.jobs.worker import run_in_process
from dqf.progress import Reporter
from dqf.settings import Settings, load_settings

STAGES = ("teacher", "quantize", "evaluate")
STEP_S = 0.02


def fake_pipeline(config: RunConfig, run_dir: Path, settings: Settings, reporter: Reporter) -> dict[str, object]:
    mode = config.preset
    with (settings.results_dir / "order.txt").open("a") as file:
        file.write(f"begin {run_dir.name}\n")
    if mode == "deaf":
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (run_dir / "pids").write_text(str(_sleeper()))
        time.sleep(300)
    if mode == "child":
        (run_dir / "pids").write_text(str(_sleeper()))
    if mode == "refuse" or config.seed == 13:
        raise UserError("`group_size` must divide 770: got 128.")
    if mode == "crash":
        raise KeyError("weights")
    if mode == "memory":
        raise MemoryError
    if mode == "limit":
        import resource

        import numpy as np

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))
        return {"sum": float(np.ones(10**9).sum())}
    if mode == "full":
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x" * 10_000)
    if mode == "garbage":
        with (run_dir / "events.jsonl").open("ab") as file:
            file.write(b'\xff\xfe\x00{"seq": "x"\n[]\nnull\n{"seq": 1e400, "time": "?", "kind": 7}\n' * 50)
    if mode == "die":
        os._exit(9)
    if mode == "noresult":
        return {}
    reporter.plan([{"id": stage, "title": stage.title()} for stage in STAGES])
    stages = []
    for stage in STAGES:
        marker = run_dir / f"{stage}.done"
        reporter.stage_started(stage)
        cache = "hit" if marker.exists() else "miss"
        if cache == "miss":
            for step in range(1, config.seed + 1):
                time.sleep(STEP_S)
                reporter.progress(step, config.seed, {"loss": 1 / step})
            marker.touch()
        reporter.stage_done(stage, cache, 0.1)
        stages.append({"id": stage, "title": stage, "key": stage, "cache": cache, "seconds": 0.1, "metrics": {}})
    result = {"schema_version": 1, "run_id": run_dir.name, "stages": stages, "variants": []}
    protocol.write_json(run_dir / "result.json", result)
    with (settings.results_dir / "order.txt").open("a") as file:
        file.write(f"end {run_dir.name}\n")
    if mode == "hang":
        time.sleep(300)
    return result


def _sleeper() -> int:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]).pid


if __name__ == "__main__":
    run_in_process(Path(sys.argv[1]), load_settings(), pipeline=fake_pipeline)
