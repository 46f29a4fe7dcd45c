"""Where a variant's artifact, its exports and the jobs that make them lie.

```
<run>/artifacts/<variant>/               the artifact
<run>/exports/<variant>-<format>/        a verified export, with README.md and export.json
<run>/exports/.jobs/<variant>-<format>/  how it was made in the background: the files of dqf.jobs.protocol
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dqf.errors import UserError, did_you_mean
from dqf.jobs.protocol import find_run, read_json
from dqf.settings import Settings

EXPORTS = "exports"
JOBS = ".jobs"


@dataclass(frozen=True)
class Place:
    """A measured variant whose artifact is on this machine.

    Attributes:
        run_dir: of its run.
        result: content of the run's `result.json`.
        row: the variant's own part of it.
    """

    run_dir: Path
    result: Mapping[str, Any]
    row: Mapping[str, Any]

    @property
    def variant_id(self) -> str:
        """Which variant of the run it is."""
        return str(self.row["variant_id"])

    @property
    def artifact(self) -> Path:
        """Folder of the artifact."""
        return self.run_dir / str(self.row["artifact"])

    def export(self, name: str) -> Path:
        """Return the folder of the export in a format."""
        return self.run_dir / EXPORTS / f"{self.variant_id}-{name}"

    def job(self, name: str) -> Path:
        """Return the folder of the job that makes the export in a format."""
        return self.run_dir / EXPORTS / JOBS / f"{self.variant_id}-{name}"


def find_variant(settings: Settings, run: str, variant: str) -> Place:
    """Return a variant of a run; an unambiguous beginning of the run id or `latest` will do.

    Raises:
        UserError: no such run or variant, or its artifact is not here.
    """
    return variant_of(find_run((settings.runs_dir, settings.reference_dir), run), variant)


def variant_of(run_dir: Path, variant: str) -> Place:
    """Return a variant of the run in a directory.

    Raises:
        UserError: the run has no result or no such variant, or its artifact is not here.
    """
    result = read_json(run_dir / "result.json")
    if not isinstance(result, dict):
        raise UserError(f"a run must have a result before its variants are used: {run_dir.name} has none; resume it.")
    rows = {row["variant_id"]: row for row in result.get("variants", ())}
    if variant not in rows:
        raise UserError(f"a variant must be one of the run's: got {variant!r}{did_you_mean(variant, rows)}")
    place = Place(run_dir, result, rows[variant])
    if Path(variant).name != variant or variant.startswith("."):
        raise UserError(f"a variant's name must be that of a plain folder: got {variant!r}; run its config again.")
    if not place.row.get("artifact") or not place.artifact.is_dir():
        raise UserError(
            f"a variant's artifact must be here to be used: {run_dir.name} holds none of {variant}; "
            "run its config again."
        )
    if run_dir.resolve() not in place.artifact.resolve().parents:
        raise UserError(
            f"an artifact must be a folder inside its run: {place.row['artifact']!r} is not; run its config again."
        )
    return place
