"""Does the length of a turn change how much faster one runtime looks than another?

    python benchmarks/turns.py RUN VARIANT RUNTIME RUNTIME [RUNTIME ...] [--repeats 6]

Serves one artifact of a finished run by several runtimes, each in a process of its own, as choosing a runtime does, and
times reported rows in turns of one and of twenty examples, in alternation. Prints the p50 of each and their ratios to
the first.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dqf.config import RunConfig  # noqa: E402
from dqf.data.load import load_task  # noqa: E402
from dqf.progress import SilentReporter  # noqa: E402
from dqf.serving.client import Served, write_examples  # noqa: E402
from dqf.settings import load_settings  # noqa: E402
from dqf.stages._turns import TURN, turns  # noqa: E402
from dqf.stages.verify import TIMED_ROUNDS, TRIAL_ROUNDS  # noqa: E402
from dqf.terminal import table  # noqa: E402


def main() -> None:
    """Time the runtimes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="id of a run in the results folder, its artifacts still there")
    parser.add_argument("variant", help="id of its variant, such as student-dqf-gptq-4bit")
    parser.add_argument("runtimes", nargs="+")
    parser.add_argument("--repeats", type=int, default=6)
    arguments = parser.parse_args()
    settings = load_settings()
    run_dir = settings.runs_dir / arguments.run
    task = load_task(RunConfig.from_dict(json.loads((run_dir / "config.json").read_text())), settings)
    rows = []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        probe = Path(scratch) / "probe.json"
        count = min(TIMED_ROUNDS, len(task.evaluation))
        write_examples(task.evaluation.take(list(range(count))), probe)
        served = {}
        for name in arguments.runtimes:
            artifact, log = run_dir / "artifacts" / arguments.variant, Path(scratch) / "serving.log"
            one = stack.enter_context(Served(artifact, name, settings.threads, "cpu", log, SilentReporter()))
            one.encode(probe)
            for _ in range(TRIAL_ROUNDS):
                one.time_ms(0)
            served[name] = one
        for _ in range(arguments.repeats):
            for turn in (1, TURN):
                times: dict[str, list[float]] = {name: [] for name in served}
                for name, which in turns(list(served), TIMED_ROUNDS, turn):
                    times[name] += [served[name].time_ms(at % count) for at in which]
                p50 = [float(np.median(one)) for one in times.values()]
                rows.append((str(turn), *(f"{ms:.2f} ({ms / p50[0]:.2f})" for ms in p50)))
    print(table(("turn", *(f"{name}, ms (ratio)" for name in served)), rows))


if __name__ == "__main__":
    main()
