"""The asking side of `dqf.serving.server`."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.data.tasks import Examples
from dqf.failures import cause_of_end
from dqf.progress import Reporter

ANSWER_TIMEOUT_S = 3600.0
ROOT = Path(__file__).resolve().parents[2]


class ServingError(RuntimeError):
    """The serving process failed; the message is its own."""


class ServingEnded(ServingError):
    """The serving process ended without a word: killed, out of memory, or the machine's doing."""


class Served:
    """A fresh process that serves one artifact by one runtime.

    Args:
        artifact: folder of the artifact.
        runtime: registered name.
        threads: for inference.
        device: `cpu` or `cuda`.
        log: file that receives what the process prints.
        reporter: asked between waits whether to stop.
        timeout_s: how long one answer may take.

    Raises:
        ServingError: the artifact cannot be loaded by that runtime.
    """

    def __init__(
        self,
        artifact: Path,
        runtime: str,
        threads: int,
        device: str,
        log: Path,
        reporter: Reporter,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self.runtime = runtime
        self._reporter = reporter
        self._timeout_s = timeout_s
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", "")))),
        }
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dqf.serving.server", str(artifact), runtime, str(threads), device],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        try:
            self._receive()
        except BaseException:
            self.close()
            raise

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and return its answer.

        Raises:
            ServingError: the process failed or ended.
            OSError: it could not write its answer because the disk is full.
            Cancelled: the run was asked to stop.
        """
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ServingEnded(f"the {self.runtime} process {cause_of_end(self._process.poll())}") from error
        return self._receive()

    def encode(self, examples: Path) -> list[int]:
        """Give it the examples of a file that `write_examples` wrote; return how many tokens each has."""
        tokens: list[int] = self.ask(do="encode", examples=str(examples))["tokens"]
        return tokens

    def fix_lengths(self, lengths: Collection[int]) -> None:
        """Let single rows that are padded to one of these lengths have a graph for that length."""
        self.ask(do="fix_lengths", lengths=list(lengths))

    def logits(self, out: Path, rows: list[int] | None = None, single: bool = False) -> NDArray[np.float32]:
        """Return float32 (rows, outputs) logits, row by row if `single`; `out` is a scratch file."""
        self.ask(do="logits", rows=rows, single=single, out=str(out))
        result: NDArray[np.float32] = np.load(out)
        out.unlink()
        return result

    def time_ms(self, row: int) -> float:
        """Return the ms of one forward pass of one example."""
        return float(self.ask(do="time", row=row)["ms"])

    def rss_bytes(self) -> int:
        """Return the resident memory of the process."""
        return int(self.ask(do="stats")["rss_bytes"])

    def time_batch(self, rows: list[int]) -> dict[str, Any]:
        """Return `passes` of these rows as one batch, their `ms`, `cpu_s`, `energy_j` and `energy_source`."""
        return self.ask(do="batch", rows=rows)

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once, from any thread; whoever waits for its answer is told that it ended."""
        self._process.kill()

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self) -> dict[str, Any]:
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - a pipe was asked for
        give_up = time.monotonic() + self._timeout_s
        while not select.select([stream], [], [], 0.5)[0]:
            self._reporter.check_cancelled()
            if time.monotonic() > give_up:
                raise ServingError(f"the {self.runtime} process did not answer within {self._timeout_s:.0f} s")
        line = stream.readline()
        if not line:
            raise ServingEnded(f"the {self.runtime} process {cause_of_end(self._process.wait())}")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("disk_full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if "error" in answer:
            raise ServingError(answer["error"])
        return answer


def write_examples(examples: Examples, path: Path) -> None:
    """Write texts and pairs for `Served.encode`."""
    data = {"texts": list(examples.texts), "pairs": None if examples.pairs is None else list(examples.pairs)}
    path.write_text(json.dumps(data), encoding="utf-8")
