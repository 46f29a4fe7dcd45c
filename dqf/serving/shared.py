"""The one serving manager of this process, which all browser sessions share."""

from __future__ import annotations

import atexit
import threading
from pathlib import Path

from dqf.serving.manager import ServingManager
from dqf.settings import Settings

_managers: dict[tuple[Path, int], ServingManager] = {}
_managers_lock = threading.Lock()


def ensure_serving(settings: Settings) -> ServingManager:
    """Return this process's manager for a results folder and memory budget; any thread may call it."""
    key = (settings.results_dir, settings.serving_memory_bytes)
    with _managers_lock:
        manager = _managers.get(key)
        if manager is None or not manager.running:
            manager = _managers[key] = ServingManager(settings)
        return manager


@atexit.register
def stop_serving() -> None:
    """End every model of this process; a later question starts anew."""
    with _managers_lock:
        managers = list(_managers.values())
        _managers.clear()
    for manager in managers:
        manager.close()
