"""`python -m dqf.serving.server ARTIFACT RUNTIME THREADS DEVICE`: serve one artifact over stdin and stdout.

Each line in is a JSON request, each line out its answer:

    {"do": "encode", "examples": FILE}     texts and pairs to token ids, kept for the next requests; tokens of each
    {"do": "fix_lengths", "lengths": [..]}   single rows padded to one of these may have a graph for that length
    {"do": "logits", "rows": [..] | null, "single": bool, "out": FILE.npy}   logits of rows (all if null)
    {"do": "time", "row": i}               ms of one forward pass of one row, batch 1
    {"do": "batch", "rows": [..]}          passes of these rows as one batch: how many, ms, CPU seconds, energy
    {"do": "predict", "texts": [..], "pairs": [..] | null, "repeats": n}   logits of texts, with the times of this call
    {"do": "stats"}                        load time, peak memory

It ends when its input does, so it never outlives the process that asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf import registry
from dqf.artifacts import open_artifact
from dqf.data.encode import Encoded, Encoder
from dqf.data.tasks import Examples
from dqf.evaluate.energy import open_meter
from dqf.failures import write_failed

LARGEST_BATCH = 32
SHORTEST_WINDOW_S = 0.02
"""Processors bring their energy counters up to date about once a millisecond."""


class Server:
    """One loaded artifact and the examples it was given."""

    def __init__(self, folder: Path, runtime: str, threads: int, device: str) -> None:
        began = time.perf_counter()
        self._artifact = open_artifact(folder)
        self._runtime = registry.get("runtime", runtime).target(self._artifact, threads, device)
        manifest = self._artifact.manifest
        self._encoder = Encoder(folder / "tokenizer.json", manifest["max_length"])
        self._pad_id = int(manifest["pad_id"])
        self._encoded = Encoded((), ())
        self._meter = open_meter(device)
        self._load_ms = (time.perf_counter() - began) * 1e3

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        handler = getattr(self, f"do_{request.pop('do')}")
        answer: dict[str, Any] = handler(**request)
        return answer

    def do_encode(self, examples: str) -> dict[str, Any]:
        """Tokenize examples and keep them."""
        data = json.loads(Path(examples).read_text(encoding="utf-8"))
        pairs = None if data["pairs"] is None else tuple(data["pairs"])
        self._encoded = self._encoder(Examples(tuple(data["texts"]), pairs, np.zeros(len(data["texts"]))))
        return {"rows": len(self._encoded), "tokens": [len(ids) for ids in self._encoded.ids]}

    def do_fix_lengths(self, lengths: list[int]) -> dict[str, Any]:
        """Let single rows of these padded lengths have graphs of their own."""
        self._runtime.fix_lengths(lengths)
        return {}

    def do_logits(self, rows: list[int] | None, out: str, single: bool = False) -> dict[str, Any]:
        """Predict; rows of equal length share a batch, so that no padding can change a result.

        `single` predicts them one by one, as they are timed.
        """
        wanted = list(range(len(self._encoded))) if rows is None else rows
        np.save(out, self._logits(self._encoded, wanted, 1 if single else LARGEST_BATCH))
        return {"rows": len(wanted)}

    def do_predict(self, texts: list[str], pairs: list[str] | None, repeats: int) -> dict[str, Any]:
        """Predict texts as they come: `forward_ms` is the first pass over all, `repeat_ms` the passes after it."""
        began = time.perf_counter()
        encoded = self._encoder(Examples(tuple(texts), None if pairs is None else tuple(pairs), np.zeros(len(texts))))
        rows = list(range(len(encoded)))
        times = [time.perf_counter()]
        logits = self._logits(encoded, rows)
        times.append(time.perf_counter())
        for _ in range(repeats):
            self._logits(encoded, rows)
            times.append(time.perf_counter())
        forward_ms, *repeat_ms = (np.diff(times) * 1e3).tolist()
        return {
            "logits": logits.tolist(),
            "tokens": [len(ids) for ids in encoded.ids],
            "max_length": int(self._artifact.manifest["max_length"]),
            "encode_ms": (times[0] - began) * 1e3,
            "forward_ms": forward_ms,
            "repeat_ms": repeat_ms,
        }

    def _logits(self, encoded: Encoded, wanted: list[int], largest_batch: int = LARGEST_BATCH) -> NDArray[np.float32]:
        """Return float32 (wanted, outputs) logits."""
        by_length: dict[int, list[int]] = {}
        for place, row in enumerate(wanted):
            by_length.setdefault(len(encoded.ids[row]), []).append(place)
        logits: NDArray[np.float32] | None = None
        for length in sorted(by_length):
            places = by_length[length]
            for start in range(0, len(places), largest_batch):
                part = places[start : start + largest_batch]
                result = self._runtime.logits(encoded.batch([wanted[i] for i in part], self._pad_id))
                if logits is None:
                    logits = np.empty((len(wanted), result.shape[1]), dtype=np.float32)
                logits[part] = result
        return logits if logits is not None else np.empty((0, 0), dtype=np.float32)

    def do_time(self, row: int) -> dict[str, Any]:
        """Time one forward pass, token ids in, logits out; an untimed one before it wakes caches and threads."""
        batch = self._encoded.batch([row], self._pad_id)
        self._runtime.logits(batch)
        began = time.perf_counter()
        self._runtime.logits(batch)
        return {"ms": (time.perf_counter() - began) * 1e3, "tokens": len(self._encoded.ids[row])}

    def do_batch(self, rows: list[int]) -> dict[str, Any]:
        """Time passes of one batch, padded to its longest row, after an untimed one, for as long as counters need."""
        batch = self._encoded.batch(rows, self._pad_id)
        self._runtime.logits(batch)
        passes, meter = 0, self._meter
        before = meter.read() if meter else {}
        cpu, began = time.process_time(), time.perf_counter()
        while not passes or time.perf_counter() - began < SHORTEST_WINDOW_S:
            self._runtime.logits(batch)
            passes += 1
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        return {
            "passes": passes,
            "ms": seconds * 1e3,
            "cpu_s": cpu_s,
            "energy_j": meter.joules(before, meter.read()) if meter else None,
            "energy_source": meter.source if meter else None,
        }

    def do_stats(self) -> dict[str, Any]:
        """Return load time, and resident memory of this process now and at its peak."""
        return {"load_ms": self._load_ms, "rss_bytes": rss_bytes(), "peak_rss_bytes": peak_rss_bytes()}


def peak_rss_bytes() -> int:
    """Return this process's peak resident memory.

    Linux's VmHWM starts afresh at exec; getrusage's figure would still hold the parent's peak.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return rss_bytes()


def rss_bytes() -> int:
    """Return this process's resident memory."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def main() -> None:
    """Serve until the input ends."""
    # Answers go to the real stdout; whatever libraries print goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    folder, runtime, threads, device = sys.argv[1:5]
    try:
        server = Server(Path(folder), runtime, int(threads), device)
        answers.write(json.dumps({"ready": True}) + "\n")
        answers.flush()
        for line in sys.stdin:
            answers.write(json.dumps(server.answer(json.loads(line))) + "\n")
            answers.flush()
    except Exception as error:
        import traceback

        with contextlib.suppress(OSError):  # the log may lie on the disk that is full
            traceback.print_exc()
        said = {"error": f"{type(error).__name__}: {error}"[:500], "disk_full": write_failed(error)}
        answers.write(json.dumps(said) + "\n")
        answers.flush()
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
