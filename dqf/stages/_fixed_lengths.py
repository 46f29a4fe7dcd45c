"""Which lengths of single rows get a graph of their own, within the memory that is allowed for them (decision 31)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf import registry
from dqf.artifacts import Artifact
from dqf.data.tasks import REGRESSION
from dqf.runtimes._lengths import padded_length
from dqf.runtimes._openvino import MASK
from dqf.serving.client import Served, ServingEnded, ServingError
from dqf.stages._cache import Output
from dqf.stages._context import Context
from dqf.stages._turns import turns
from dqf.stages.export import probe_rows
from dqf.stages.verify import TIMED_ROUNDS, faithful

FILE = "fixed_lengths.json"
ANY, FIXED = "any_length", "fixed_length"
POOLED = "pooled_ratio"
WORTH = 0.05
"""By how much graphs of fixed length must be faster to be kept: they may take more memory than all the rest."""


def fit_lengths(
    context: Context,
    served: Served,
    artifact: Artifact,
    tokens: list[int],
    reference: NDArray[Any],
    folder: Path,
    last_try: bool = True,
) -> list[int]:
    """Find lengths that may have graphs, write them to `fixed_lengths.json`, and leave the process with them.

    The commonest lengths are taken first, as many as the memory of the first one lets fit, and timed beside the graph
    for any length. Whether they are faster is judged later, with the files of the same group (`keep_where_faster`).

    Args:
        context: of the run.
        served: the process of the chosen runtime, its examples encoded.
        artifact: that it serves.
        tokens: of each example.
        reference: logits of the model in memory for `probe_rows`.
        folder: receives the file.
        last_try: whether a process that ends over it means that there are no graphs; it may be killed by chance.

    The file holds `lengths`, and, where a graph was made, `mb_each`, `relative_l2_error`, `any_length_ms_p50` and
    `fixed_length_ms_p50`; if the process failed over it, `error`: then there are none, and the process has ended.

    Returns:
        The lengths; none if graphs of fixed length are not possible, not allowed or not faithful.

    Raises:
        ServingEnded: the process ended, and this is not the last try.
    """
    found: dict[str, Any] = {"lengths": []}
    fits = artifact.size_bytes <= context.config.measurement.fixed_length_mb * 1_000_000
    if fits and _possible(served.runtime, artifact):
        try:
            found |= _fit(context, served, artifact, tokens, reference, folder)
            served.fix_lengths(found["lengths"])
        except ServingError as error:
            context.reporter.check_cancelled()  # who cancels may end the process, too: that says nothing of the graphs
            if isinstance(error, ServingEnded) and not last_try:
                raise
            found = {"lengths": [], "error": str(error)}
    (folder / FILE).write_text(json.dumps(found, indent=1), encoding="utf-8")
    return list(found["lengths"])


def read_fixed_lengths(evaluation: Output) -> dict[str, Any]:
    """Return the content of `fixed_lengths.json`."""
    data: dict[str, Any] = json.loads((evaluation.folder / FILE).read_text(encoding="utf-8"))
    return data


def keep_where_faster(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the same with `pooled_ratio`, and without lengths where graphs of them are not faster by `WORTH`.

    Files of one network in one runtime are judged together, as their runtimes are (decision 3): what a graph of fixed
    length saves is the network's, and a disturbance of one file's passes must not leave that file alone without.

    Args:
        found: by file of a group, the content of `fixed_lengths.json`.

    Returns:
        In the same order. `pooled_ratio` is the time of a text in its fixed graph over that in the other one,
        geometric mean over the files that may have such graphs; these alone have it.
    """
    logs = [np.log(one[f"{FIXED}_ms_p50"] / one[f"{ANY}_ms_p50"]) for one in found if one["lengths"]]
    ratio = float(np.exp(np.mean(logs))) if logs else 1.0
    return [
        {**one, "lengths": one["lengths"] if ratio <= 1 - WORTH else [], POOLED: ratio} if one["lengths"] else dict(one)
        for one in found
    ]


def _possible(runtime: str, artifact: Artifact) -> bool:
    """Tell whether the runtime makes such graphs, and padding cannot change what the network answers."""
    return bool(registry.get("runtime", runtime).facts.get("fixes_lengths")) and MASK in artifact.manifest["inputs"]


def _fit(
    context: Context, served: Served, artifact: Artifact, tokens: list[int], reference: NDArray[Any], folder: Path
) -> dict[str, Any]:
    longest = int(artifact.manifest["max_length"])
    padded = [padded_length(count, longest) for count in tokens]
    commonest = [length for length, _ in Counter(padded).most_common()]
    before = served.rss_bytes()
    served.fix_lengths(commonest[:1])
    served.time_ms(padded.index(commonest[0]))  # compiles it
    # Memory freed by batches before may hide some of it, but each graph holds the weights.
    each = max(served.rss_bytes() - before, artifact.size_bytes)
    lengths = sorted(commonest[: context.config.measurement.fixed_length_mb * 1_000_000 // each])
    found: dict[str, Any] = {"lengths": [], "mb_each": each / 1e6}
    if not lengths:
        return found
    served.fix_lengths(lengths)
    for length in lengths:
        served.time_ms(padded.index(length))  # what cannot be compiled is found here, and peak memory holds them all
    logits = served.logits(folder / "single.npy", probe_rows(context.task), single=True)
    agreed = faithful(reference, logits, context.task.kind == REGRESSION)
    found["relative_l2_error"] = agreed["relative_l2_error"]
    times: dict[str, list[float]] = {ANY: [], FIXED: []}
    for name, turn in turns([ANY, FIXED], TIMED_ROUNDS):
        served.fix_lengths(lengths if name == FIXED else ())
        times[name] += [served.time_ms(at % len(tokens)) for at in turn]
    found |= {f"{name}_ms_p50": float(np.median(ms)) for name, ms in times.items()}
    if agreed["faithful"]:
        found["lengths"] = lengths
    return found
