"""Artifacts without a model: the files and the manifest of one, in bytes; and a process that pretends to export.

`python -m tests.support.example_artifacts JOB_DIR` is the pretended process; `tests.support.exporting`
makes real artifacts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dqf.artifacts import open_artifact, save_weights, sha256_of, write_manifest
from dqf.errors import UserError
from dqf.exporting import worker
from dqf.exporting.export import FORMAT, RECORD, VERSION, phases, scratch_of
from dqf.exporting.places import Place
from dqf.jobs import protocol
from dqf.progress import Reporter, phase
from dqf.registry import get
from dqf.settings import Settings, load_settings

FAKE_COMMAND = (sys.executable, "-m", "tests.support.example_artifacts")
EVIL = "![x](https://example.org/x.png) <img src=https://example.org/y.png>"
CONTROL = "control.txt"
"""A file in the results folder that says what the pretended process does: `wait` | `fail` | `die` | nothing."""


def write_example_artifact(run_dir: Path, variant_id: str, bits: int = 4, model_type: str = "bert") -> Path:
    """Write what an artifact of two weights would be."""
    folder = run_dir / "artifacts" / variant_id
    folder.mkdir(parents=True)
    save_weights(folder, {"layer.weight": np.zeros((32, 64), np.float16)})
    for name, content in (("config.json", {"model_type": model_type}), ("tokenizer.json", {})):
        (folder / name).write_text(json.dumps(content))
    packed = {"shape": [32, 64], "bits": bits, "group_size": 32, "symmetric": False}
    quantized = {"encoder.layer.0.a.weight": packed} if bits < 16 else {}
    write_manifest(folder, {"quantized": quantized, "params": 2048, "max_length": 32, "task": {}, "inputs": []})
    return folder


def write_example_export(place: Place, name: str, note: str = "") -> Path:
    """Write what a verified export would leave."""
    folder = place.export(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 50)
    files = {
        "model.safetensors": {"sha256": sha256_of(folder / "model.safetensors"), "size_bytes": 256 * 50},
    }
    record = {
        "format": FORMAT,
        "version": VERSION,
        "exporter": name,
        "created": datetime.now(UTC).isoformat(),
        "source": {"weights_sha256": open_artifact(place.artifact).manifest["files"]["model.safetensors"]},
        "notes": [note] if note else [],
        "verification": {
            "relative_l2_error": 0.0012,
            "argmax_agreement": 1.0,
            "tolerance": 0.01,
            "n": 64,
            "probe": "built-in sentences",
            "consumer": "transformers",
        },
        "files": files,
    }
    (folder / "README.md").write_text(f"# A card\n\n{note}\n")
    protocol.write_json(folder / RECORD, record)
    return folder


def pretend(settings: Settings, place: Place, name: str, options: Mapping[str, Any], reporter: Reporter) -> None:
    """Do what the control file says instead of exporting."""
    control = settings.results_dir / CONTROL
    what = control.read_text() if control.exists() else ""
    reporter.plan(phases(get("exporter", name)))
    with phase(reporter, "write"):
        scratch = scratch_of(place.export(name), os.getpid())
        scratch.mkdir(parents=True, exist_ok=True)
        if what == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while what in ("wait", "deaf"):
            time.sleep(0.05)
        if what == "die":
            os._exit(9)
        if what == "fail":
            raise UserError(f"transformers must load it: it failed ({EVIL}), so nothing was kept.")
    write_example_export(place, name)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, worker._stop)
    worker.work(Path(sys.argv[1]), load_settings(), pretend)
