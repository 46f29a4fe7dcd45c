"""Compare the logits of an export, loaded by its own consumer, with the artifact's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.artifacts import Artifact
from dqf.data.tasks import REGRESSION, Examples
from dqf.errors import UserError
from dqf.evaluate.agreement import agreement
from dqf.exporting.probe import Probe
from dqf.progress import Reporter, SilentReporter, phase
from dqf.registry import Entry
from dqf.serving.client import Served, ServingError, write_examples

PROGRAM = Path(__file__).with_name("consumer.py")
REFERENCE = "reference"
CONSUMER = "consumer"
TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Agreement:
    """How near an export is to its artifact.

    Attributes:
        relative_l2_error: ||export - artifact|| / ||artifact|| over all logits.
        argmax_agreement: share of rows with the same predicted class.
        tolerance: largest relative L2 error allowed.
        n: rows compared.
        probe: where the rows come from.
        consumer: who loaded the export.
        versions: of the packages it imported.
        reference: runtime that gave the artifact's own logits.
    """

    relative_l2_error: float
    argmax_agreement: float
    tolerance: float
    n: int
    probe: str
    consumer: str
    versions: dict[str, str]
    reference: str = "torch-fp32"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def verify(
    artifact: Artifact,
    entry: Entry,
    folder: Path,
    code: str,
    probe: Probe,
    threads: int,
    reporter: Reporter | None = None,
) -> Agreement:
    """Run an export's loading code in a fresh process and compare.

    Args:
        artifact: what was exported.
        entry: the exporter.
        folder: the export; `code` finds it in its working directory by name.
        code: Python source as the model card shows it.
        probe: texts.
        threads: for computing.
        reporter: is told of the phases `REFERENCE` and `CONSUMER`, and may stop it.

    Raises:
        UserError: the consumer cannot load it, or the logits differ by more than the tolerance.
    """
    teller = reporter or SilentReporter()
    with tempfile.TemporaryDirectory(prefix="dqf-export-") as scratch:
        with phase(teller, REFERENCE):
            wanted = _reference(artifact, probe, threads, Path(scratch), teller)
        # The consumer works on a copy of the folder's name only: whatever it writes stays out of the export.
        (Path(scratch) / folder.name).symlink_to(folder.resolve(), target_is_directory=True)
        with phase(teller, CONSUMER):
            found, versions = _consume(entry, code, probe, threads, Path(scratch))
    if found.shape != wanted.shape or not np.isfinite(found).all():
        raise UserError(
            f"{entry.facts['consumer']} must give {wanted.shape[1]} finite logits per text: got "
            f"{'numbers that are not finite' if found.shape == wanted.shape else found.shape}; nothing was kept."
        )
    regression = (artifact.manifest.get("task") or {}).get("kind") == REGRESSION or wanted.shape[1] == 1
    tolerance = float(entry.facts["tolerance"])
    seen = agreement(wanted, found, regression, tolerance)
    error, flips = seen["relative_l2_error"], seen["flips"]
    if not seen["faithful"]:
        raise UserError(
            f"{entry.title} must reproduce the artifact's logits within {tolerance:.0%}: {entry.facts['consumer']} "
            f"differed by {error:.1%} and in {flips} of {len(wanted)} predictions, so nothing was kept; "
            "choose another format."
        )
    return Agreement(
        error, seen["argmax_agreement"], tolerance, len(wanted), probe.source, entry.facts["consumer"], versions
    )


def _reference(
    artifact: Artifact, probe: Probe, threads: int, scratch: Path, reporter: Reporter
) -> NDArray[np.float32]:
    """Return the artifact's own logits, in FP32, from a fresh process."""
    examples = Examples(probe.texts, probe.pairs, np.zeros(len(probe.texts)))
    write_examples(examples, scratch / "examples.json")
    try:
        with Served(artifact.folder, "torch-fp32", threads, "cpu", scratch / "serving.log", reporter) as served:
            served.encode(scratch / "examples.json")
            return served.logits(scratch / "reference.npy")
    except ServingError as error:
        raise UserError(
            f"an artifact must load before it is exported: {artifact.folder.name} does not ({error})."
        ) from error


def _consume(
    entry: Entry, code: str, probe: Probe, threads: int, scratch: Path
) -> tuple[NDArray[np.float32], dict[str, str]]:
    (scratch / "load.py").write_text(code, encoding="utf-8")
    (scratch / "probe.json").write_text(json.dumps({"texts": probe.texts, "pairs": probe.pairs}), encoding="utf-8")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GPTQMODEL_CPU_WORKERS": str(max(1, threads)),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    log = scratch / "consumer.log"
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-P", str(PROGRAM), "load.py", "probe.json", "logits.json"],
                cwd=scratch,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S,
                check=False,
            )
        code_of = done.returncode
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{entry.facts['consumer']} must load {entry.title} within {TIMEOUT_S / 60:.0f} minutes: it did not, so "
            "nothing was kept; choose another format."
        ) from None
    if code_of != 0:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise UserError(
            f"{entry.facts['consumer']} must load {entry.title}: it failed "
            f"({lines[-1].strip()[:200] if lines else f'exit code {code_of}'}), so nothing was kept; "
            "choose another format."
        )
    answer = json.loads((scratch / "logits.json").read_text(encoding="utf-8"))
    return np.asarray(answer["logits"], dtype=np.float32), dict(answer["versions"])
