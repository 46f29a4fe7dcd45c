"""What do graphs of fixed length gain for the teacher and for a variant, and what do they take?

    python benchmarks/lengths.py RUN VARIANT [VARIANT ...] [--lengths 3] [--examples 100]

Serves variants of a finished run, each by the runtime that it was measured in, in processes of their own, and times
reported rows of the commonest padded lengths in turns of twenty, once in the graph for any length and once in those of
one length, however much memory they take. Prints p50, memory of each graph, and how many times as fast as the first
variant (give the teacher) each is: both in graphs for any length, both in graphs of one length, and as a run times
them, where the memory that is allowed decides.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dqf.config import RunConfig  # noqa: E402
from dqf.data.load import load_task  # noqa: E402
from dqf.progress import SilentReporter  # noqa: E402
from dqf.runtimes._lengths import padded_length  # noqa: E402
from dqf.serving.client import Served, write_examples  # noqa: E402
from dqf.settings import load_settings  # noqa: E402
from dqf.stages._turns import turns  # noqa: E402
from dqf.terminal import table  # noqa: E402


def main() -> None:
    """Time the variants and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="id of a run in the results folder, its artifacts still there")
    parser.add_argument("variants", nargs="+", help="ids, the one that the others are held against first")
    parser.add_argument("--lengths", type=int, default=3, help="of the commonest ones")
    parser.add_argument("--examples", type=int, default=100)
    arguments = parser.parse_args()
    settings = load_settings()
    run_dir = settings.runs_dir / arguments.run
    config = RunConfig.from_dict(json.loads((run_dir / "config.json").read_text()))
    task = load_task(config, settings)
    result = json.loads((run_dir / "result.json").read_text())
    runtimes = {row["variant_id"]: row["runtime"] for row in result["variants"]}
    allowed_mb, longest = config.measurement.fixed_length_mb, config.task.max_length
    ms: dict[str, dict[bool, list[float]]] = {name: {True: [], False: []} for name in arguments.variants}
    mb: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        texts, log = Path(scratch) / "texts.json", Path(scratch) / "serving.log"
        write_examples(task.evaluation, texts)
        served, rows, lengths = {}, {}, {}
        for name in arguments.variants:
            artifact = run_dir / "artifacts" / name
            one = stack.enter_context(Served(artifact, runtimes[name], settings.threads, "cpu", log, SilentReporter()))
            padded = [padded_length(count, longest) for count in one.encode(texts)]
            lengths[name] = [length for length, _ in Counter(padded).most_common(arguments.lengths)]
            rows[name] = [row for row, length in enumerate(padded) if length in lengths[name]]
            before = one.rss_bytes()
            one.fix_lengths(lengths[name])
            for length in lengths[name]:
                one.time_ms(padded.index(length))
            mb[name] = (one.rss_bytes() - before) / len(lengths[name]) / 1e6
            served[name] = one
        asked = {f"{name} {fixed}": (name, fixed) for name in served for fixed in (False, True)}
        for which, turn in turns(list(asked), arguments.examples):
            name, fixed = asked[which]
            served[name].fix_lengths(lengths[name] if fixed else ())
            ms[name][fixed] += [served[name].time_ms(rows[name][at % len(rows[name])]) for at in turn]
    p50 = {name: {fixed: float(np.median(times)) for fixed, times in one.items()} for name, one in ms.items()}
    first = arguments.variants[0]
    lines = []
    for name, one in p50.items():
        as_timed = {key: p50[key][mb[key] <= allowed_mb] for key in (first, name)}
        ratios = [p50[first][False] / one[False], p50[first][True] / one[True], as_timed[first] / as_timed[name]]
        what = (name, runtimes[name], f"{one[False]:.2f}", f"{one[True]:.2f}", f"{mb[name]:.0f}")
        lines.append((*what, *(f"{ratio:.1f}" for ratio in ratios)))
    heads = (
        "variant",
        "runtime",
        "any length, ms",
        "one length, ms",
        "MB each",
        "times as fast: any",
        "one",
        "as timed",
    )
    print(table(heads, lines))


if __name__ == "__main__":
    main()
