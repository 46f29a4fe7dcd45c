"""The stage cache: a stage's output lies under the hash of everything that decides it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dqf.config import digest_of
from dqf.jobs.protocol import write_json
from dqf.memory import give_back_memory
from dqf.progress import Reporter

DONE = "done.json"


@dataclass(frozen=True)
class Output:
    """What a stage left behind.

    Attributes:
        key: hash of all that decides it; goes into the keys of the stages that use it.
        folder: its files.
        metrics: numbers it reported.
        cache: `hit` if it was there already, else `miss`.
    """

    key: str
    folder: Path
    metrics: dict[str, Any]
    cache: str


@dataclass
class StageCache:
    """Runs stages at most once per key, over all runs.

    Attributes:
        root: cache directory.
        reporter: told when stages start and end.
        titles: what people call the stages, by id.
        records: one row per stage of this run, for `result.json`.
    """

    root: Path
    reporter: Reporter
    titles: Mapping[str, str] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    def run(
        self,
        stage: str,
        *,
        version: int,
        config: Mapping[str, Any],
        inputs: tuple[Output, ...],
        work: Callable[[Path], dict[str, Any]],
    ) -> Output:
        """Return a stage's output, doing its work only if no run has done it before.

        Args:
            stage: id within the run; the part before `:` names the kind.
            version: raised when the stage's code changes what it makes.
            config: every setting the work reads.
            inputs: outputs the work reads.
            work: writes its files to the folder it is given (which keeps what an interrupted attempt
                left) and returns metrics.

        Returns:
            The output.
        """
        kind = stage.split(":")[0]
        key = digest_of([kind, version, config, [one.key for one in inputs]])[:24]
        folder = self.root / kind / key
        began = time.monotonic()
        self.reporter.stage_started(stage)
        with self._locked(folder):
            done = _read_done(folder)
            cache = "hit" if done is not None else "miss"
            if done is None:
                partial = folder.with_name(f"{key}.partial")
                partial.mkdir(parents=True, exist_ok=True)
                metrics = work(partial)
                give_back_memory()
                write_json(partial / DONE, {"stage": kind, "config": dict(config), "metrics": metrics})
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
                done = {"metrics": metrics}
        seconds = time.monotonic() - began
        metrics = done["metrics"]
        title = self.titles.get(stage, stage)
        row = {"id": stage, "title": title, "key": key, "cache": cache, "seconds": seconds, "metrics": metrics}
        self.records.append(row)
        self.reporter.stage_done(stage, cache, seconds, metrics)
        return Output(key, folder, metrics, cache)

    def finished(self, kind: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield folder and config of every output of a kind of stage that lies here whole."""
        for folder in sorted((self.root / kind).glob("*")):
            done = _read_done(folder) if not folder.suffix else None  # else unfinished, or a lock
            if done is not None and isinstance(done.get("config"), dict):
                yield folder, done["config"]

    @contextlib.contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        """Hold the key, so that two runs never do the same work at once; the second waits and finds it done."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self.reporter.check_cancelled()
                    time.sleep(0.5)
            yield


def _read_done(folder: Path) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = json.loads((folder / DONE).read_text(encoding="utf-8"))
        return data if isinstance(data["metrics"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
