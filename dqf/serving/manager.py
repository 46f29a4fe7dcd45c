"""Models that answer people: one process per artifact, a memory budget over all, least recently used ends first.

A serving process ends when its input does, so none outlives the app, however that ends.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from dqf.errors import UserError
from dqf.progress import SilentReporter
from dqf.serving.client import Served, ServingEnded, ServingError
from dqf.serving.models import Model
from dqf.settings import Settings

IDLE_S = 300.0
ANSWER_S = 120.0
WAIT_S = 60.0
"""How long a question waits for memory or a model that others use."""
THREAD_NAME = "dqf-serving"


@dataclass(frozen=True)
class Answer:
    """What a model said to some texts.

    Attributes:
        logits: float32 (texts, outputs).
        tokens: length of each text as the model saw it.
        max_length: texts are cut after so many tokens.
        encode_ms: texts to token ids.
        forward_ms: the first pass over all texts.
        repeat_ms: of the passes that were asked for after it.
        rss_bytes: memory of the process now.
        load_s: seconds the model took to load for this answer, 0 if it was loaded.
    """

    logits: NDArray[np.float32]
    tokens: tuple[int, ...]
    max_length: int
    encode_ms: float
    forward_ms: float
    repeat_ms: tuple[float, ...]
    rss_bytes: int
    load_s: float


@dataclass
class _Slot:
    model: Model
    bytes: int
    served: Served | None = None
    busy: bool = False
    used: float = 0.0


class ServingManager:
    """Loads models when they are asked and ends them when memory is needed or nobody asks.

    Args:
        settings: memory budget and threads.
        idle_s: a model that nobody asked for so long ends.
        answer_s: how long loading, or one answer, may take.
        wait_s: how long a question waits for what others use.
    """

    def __init__(
        self, settings: Settings, idle_s: float = IDLE_S, answer_s: float = ANSWER_S, wait_s: float = WAIT_S
    ) -> None:
        self._budget, self._threads = settings.serving_memory_bytes, settings.threads
        self._idle_s, self._answer_s, self._wait_s = idle_s, answer_s, wait_s
        self._changed = threading.Condition()
        self._slots: dict[str, _Slot] = {}
        self._logs = Path(tempfile.mkdtemp(prefix="dqf-serving-"))
        self._reaper: threading.Thread | None = None
        self._closed = False

    @property
    def running(self) -> bool:
        """Whether it still takes questions."""
        return not self._closed

    @property
    def budget_bytes(self) -> int:
        """Memory that all models may take together."""
        return self._budget

    def loaded(self) -> dict[str, int]:
        """Return the memory of each model in bytes, by key, the least recently used first."""
        with self._changed:
            slots = sorted(self._slots.values(), key=lambda slot: slot.used)
            return {slot.model.key: slot.bytes for slot in slots if slot.served is not None}

    def pids(self) -> dict[str, int]:
        """Return the process of each model, by key."""
        with self._changed:
            return {key: slot.served.pid for key, slot in self._slots.items() if slot.served is not None}

    def predict(
        self, model: Model, texts: Sequence[str], pairs: Sequence[str] | None = None, repeats: int = 0
    ) -> Answer:
        """Return a model's answer; loads it if it must, and once more if its process was killed.

        Args:
            model: what to ask.
            texts: at least one.
            pairs: second texts, for tasks that have them.
            repeats: passes to time after the first.

        Raises:
            UserError: it cannot be loaded, does not fit in memory, or its process ended twice.
        """
        slot = self._take(model)
        try:
            for last in (False, True):
                try:
                    return self._ask(slot, texts, pairs, repeats)
                except ServingEnded as error:
                    self._end(slot)
                    if last or self._closed:
                        raise UserError(
                            f"a serving process must stay alive: that of {model.key} ended twice; {error}."
                        ) from None
                except ServingError as error:
                    self._end(slot)
                    raise UserError(str(error).removeprefix("UserError: ")) from None
                except BaseException:
                    self._end(slot)
                    raise
            raise AssertionError("unreachable")
        finally:
            self._give_back(slot)

    def free(self) -> None:
        """End every model that is not answering now."""
        with self._changed:
            for slot in [slot for slot in self._slots.values() if not slot.busy]:
                self._drop(slot)
            self._changed.notify_all()

    def close(self) -> None:
        """End all models for good."""
        with self._changed:
            self._closed = True
            for slot in list(self._slots.values()):
                if not slot.busy:
                    self._drop(slot)
                elif slot.served is not None:
                    slot.served.kill()  # the thread that waits for its answer tidies up
            self._changed.notify_all()
        shutil.rmtree(self._logs, ignore_errors=True)

    def _ask(self, slot: _Slot, texts: Sequence[str], pairs: Sequence[str] | None, repeats: int) -> Answer:
        load_s = 0.0
        if slot.served is None:
            began = time.monotonic()
            slot.served = self._start(slot.model)
            load_s = time.monotonic() - began
        said = slot.served.ask(
            do="predict", texts=list(texts), pairs=None if pairs is None else list(pairs), repeats=repeats
        )
        with contextlib.suppress(psutil.Error):
            slot.bytes = int(psutil.Process(slot.served.pid).memory_info().rss)
        return Answer(
            np.asarray(said["logits"], dtype=np.float32),
            tuple(said["tokens"]),
            said["max_length"],
            said["encode_ms"],
            said["forward_ms"],
            tuple(said["repeat_ms"]),
            slot.bytes,
            load_s,
        )

    def _start(self, model: Model) -> Served:
        log = self._logs / "serving.log"
        served = Served(model.folder, model.runtime, self._threads, model.device, log, SilentReporter(), self._answer_s)
        if model.lengths:
            served.fix_lengths(model.lengths)
        return served

    def _take(self, model: Model) -> _Slot:
        """Return the model's slot, ours until it is given back; makes room for a new one."""
        if model.expected_bytes > self._budget:
            raise UserError(
                f"models may take {self._budget // 1_000_000} MB together: {model.key} alone took "
                f"{model.expected_bytes // 1_000_000} MB when it was evaluated; raise `DQF_SERVING_MEMORY_MB`."
            )
        give_up = time.monotonic() + self._wait_s
        with self._changed:
            while not self._closed:
                slot = self._slots.get(model.key)
                if slot is None and self._make_room(model.expected_bytes):
                    slot = self._slots[model.key] = _Slot(model, model.expected_bytes)
                if slot is not None and not slot.busy:
                    if slot.model.signature != model.signature:
                        self._drop(slot)
                        continue
                    slot.busy = True
                    self._start_reaper()
                    return slot
                if time.monotonic() > give_up:
                    raise UserError("others use the models now: ask again in a moment.")
                self._changed.wait(timeout=1.0)
        raise UserError("the app is ending: start it again.")

    def _make_room(self, needed: int, keep: _Slot | None = None) -> bool:
        """End models, least recently used first, until so many bytes are free; False while others are in use."""
        while sum(slot.bytes for slot in self._slots.values()) + needed > self._budget:
            idle = [slot for slot in self._slots.values() if not slot.busy and slot is not keep]
            if not idle:
                return False
            self._drop(min(idle, key=lambda slot: slot.used))
        return True

    def _give_back(self, slot: _Slot) -> None:
        with self._changed:
            slot.busy, slot.used = False, time.monotonic()
            if slot.served is None or self._closed:
                self._drop(slot)
            self._make_room(0, keep=slot)  # it may have taken more than was expected
            self._changed.notify_all()

    def _drop(self, slot: _Slot) -> None:
        self._end(slot)
        if self._slots.get(slot.model.key) is slot:
            del self._slots[slot.model.key]

    @staticmethod
    def _end(slot: _Slot) -> None:
        served, slot.served = slot.served, None
        if served is not None:
            served.close()

    def _start_reaper(self) -> None:
        if self._reaper is None:
            self._reaper = threading.Thread(target=self._reap, name=THREAD_NAME, daemon=True)
            self._reaper.start()

    def _reap(self) -> None:
        """End models that nobody asks."""
        with self._changed:
            while not self._closed:
                self._changed.wait(timeout=min(5.0, self._idle_s / 4))
                since = time.monotonic() - self._idle_s
                for slot in [slot for slot in self._slots.values() if not slot.busy and slot.used < since]:
                    self._drop(slot)
