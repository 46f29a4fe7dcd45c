"""Write an artifact in another form, load it back by its own consumer in a fresh process, compare, keep."""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import dqf
from dqf import registry
from dqf.artifacts import WEIGHTS, Artifact, open_artifact, sha256_of
from dqf.errors import ConfigError, FieldError, UserError
from dqf.exporting.card import Origin, model_card
from dqf.exporting.probe import Probe, built_in_probe
from dqf.exporting.verify import CONSUMER, REFERENCE, verify
from dqf.jobs.protocol import read_json, write_json
from dqf.progress import Reporter, SilentReporter, phase

if TYPE_CHECKING:
    from dqf.methods.exporters._files import Written

RECORD = "export.json"
FORMAT = "dqf-export"
VERSION = 1
WRITE = "write"
INSTALL = "pip install -r requirements-export.txt"


@dataclass(frozen=True)
class ExportResult:
    """A kept export.

    Attributes:
        folder: where it lies.
        record: content of its `export.json`.
    """

    folder: Path
    record: Mapping[str, Any]

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files but the card and the record."""
        return sum(int(one["size_bytes"]) for one in self.record["files"].values())


def export(
    artifact_folder: Path,
    name: str,
    out: Path,
    options: Mapping[str, Any] | None = None,
    *,
    probe: Probe | None = None,
    origin: Origin | None = None,
    threads: int = 1,
    reporter: Reporter | None = None,
) -> ExportResult:
    """Export an artifact; nothing is kept unless its consumer reproduces the artifact's logits.

    Args:
        artifact_folder: of the artifact.
        name: registered exporter.
        out: folder to make; an earlier export there is replaced, anything else is refused.
        options: settings of the exporter.
        probe: texts whose logits are compared; built-in sentences without.
        origin: what is known of how the artifact was made, for the model card.
        threads: for the processes that compute logits.
        reporter: is told which phase it is in, and may stop it.

    Returns:
        The export.

    Raises:
        ConfigError: an option is wrong.
        UserError: the artifact was altered or cannot take this form, a package is missing, or the
            logits do not agree.
    """
    entry = registry.get("exporter", name)
    errors: list[FieldError] = []
    chosen = entry.options(options or {}, "", errors)
    if errors:
        raise ConfigError(errors)
    artifact = open_artifact(artifact_folder)
    message = entry.facts["refuse"](artifact, chosen) or _occupied(out) or missing_sentence(entry)
    if message:
        raise UserError(message)
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(out)
    scratch = scratch_of(out, os.getpid())
    shutil.rmtree(scratch, ignore_errors=True)
    folder = scratch / out.name
    folder.mkdir(parents=True)
    teller = reporter or SilentReporter()
    teller.plan(phases(entry))
    try:
        record = _make(artifact, entry, chosen, folder, probe or built_in_probe(), origin or Origin(), threads, teller)
        earlier = scratch / ".earlier"
        if out.exists():
            out.rename(earlier)
        folder.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ExportResult(out, record)


def scratch_of(out: Path, pid: int) -> Path:
    """Return the folder that a process works in while it makes an export; a killed one leaves it behind."""
    return out.with_name(f".{out.name}.{pid}.partial")


def _remove_abandoned(out: Path) -> None:
    """Remove what killed processes left of the same export."""
    for scratch in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):
        pid = scratch.name.split(".")[-2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(scratch, ignore_errors=True)


def open_export(folder: Path) -> ExportResult:
    """Open an export and compare its files with their recorded hashes.

    Raises:
        UserError: not an export, or a file was altered or is missing.
    """
    record = read_json(folder / RECORD)
    if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("version") != VERSION:
        raise UserError(f"an export must hold a readable {RECORD}: {folder.name} does not; export it again.")
    for name, one in record["files"].items():
        path = folder / name
        found = sha256_of(path) if path.is_file() else "no such file"
        if found != one["sha256"]:
            raise UserError(
                f"a file must be as it was verified: {folder.name}/{name} has SHA-256 {found[:16]}, "
                f"expected {one['sha256'][:16]}; export it again."
            )
    return ExportResult(folder, record)


def missing_packages(entry: registry.Entry) -> list[str]:
    """Return the packages an exporter needs that are not installed."""
    return [module for module in entry.facts["needs"] if importlib.util.find_spec(module) is None]


def missing_sentence(entry: registry.Entry) -> str:
    """Return which packages an exporter lacks and how to get them, empty if none."""
    missing = missing_packages(entry)
    if not missing:
        return ""
    return (
        f"{entry.title} must be loaded by its consumer before it is kept: {', '.join(missing)} is not installed; "
        f"`{INSTALL}` brings it."
    )


def _occupied(out: Path) -> str:
    if not out.exists() or (out / RECORD).is_file() or (out.is_dir() and not any(out.iterdir())):
        return ""
    return f"an export goes to a new folder or over an earlier export: {out} holds something else; choose another."


def phases(entry: registry.Entry) -> list[dict[str, str]]:
    """Return what making an export goes through, for `Reporter.plan`."""
    return [
        {"id": WRITE, "title": "Write the files"},
        {"id": REFERENCE, "title": "Compute the artifact's own logits"},
        {"id": CONSUMER, "title": f"Load by {entry.facts['consumer']} and compare"},
    ]


def _make(
    artifact: Artifact,
    entry: registry.Entry,
    options: Any,
    folder: Path,
    probe: Probe,
    origin: Origin,
    threads: int,
    reporter: Reporter,
) -> dict[str, Any]:
    """Write, verify and describe an export in `folder`, which is named as it will be; return its record."""
    from dqf.methods.exporters._files import write_tokenizer

    try:
        with phase(reporter, WRITE):
            written: Written = entry.target(artifact, folder, options)
    except (RuntimeError, OverflowError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"{entry.title} must be able to hold the model: it cannot ({reason}), so nothing was kept; "
            "choose another format."
        ) from error
    write_tokenizer(artifact, folder)
    code = f"folder = {json.dumps(folder.name)}\n\n{written.loading}"
    files = {
        path.name: {"sha256": sha256_of(path), "size_bytes": path.stat().st_size} for path in sorted(folder.iterdir())
    }
    agreement = verify(artifact, entry, folder, code, probe, threads, reporter)
    record: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "exporter": entry.name,
        "options": dict(vars(options)),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "dqf_version": dqf.__version__,
        "source": {
            "run_id": origin.run_id,
            "variant_id": origin.variant_id,
            "weights_sha256": artifact.manifest["files"][WEIGHTS],
        },
        "notes": list(written.notes),
        "verification": agreement.to_dict(),
        "files": files,
    }
    card = model_card(artifact, entry, record, code, origin)
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_json(folder / RECORD, record)
    return record
