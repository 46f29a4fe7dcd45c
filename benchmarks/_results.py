"""The files of figures, and how a figure is written to one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dqf.environment import describe

FILE = Path(__file__).resolve().parent / "results" / "quantization.json"


def record(
    name: str,
    ours: float,
    peer: float,
    peer_name: str,
    *,
    unit: str,
    n: int,
    spread: float | None,
    command: str,
    threads: int,
    file: Path = FILE,
) -> None:
    """Add a figure or replace the one of the same name.

    Args:
        name: what was measured.
        ours: our figure, lower is better.
        peer: the peer's, from the same run.
        peer_name: what it was compared with.
        unit: of both.
        n: measurements behind each.
        spread: standard error of the ratio; None where there was one measurement.
        command: that makes it again.
        threads: CPU threads used.
        file: receives it.
    """
    row: dict[str, Any] = {
        "name": name,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "ratio": ours / peer,
        "unit": unit,
        "n": n,
        "spread": spread,
        "command": command,
        "machine": f"{describe('cpu', threads)['cpu']}, {threads} threads",
    }
    kept = json.loads(file.read_text()) if file.is_file() else []
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps([one for one in kept if one["name"] != name] + [row], indent=1) + "\n")
