"""`python -m dqf export`: find the variant, export it, say what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dqf import flags, registry, terminal
from dqf.artifacts import Artifact, open_artifact
from dqf.errors import UserError, did_you_mean
from dqf.exporting.card import Origin
from dqf.exporting.export import ExportResult, export, missing_packages
from dqf.exporting.probe import probe_of_run
from dqf.jobs.protocol import find_run, read_json
from dqf.settings import Settings

FOLDER = "exports"


def export_variant(settings: Settings, arguments: argparse.Namespace, options: Mapping[str, Any]) -> ExportResult:
    """Export a variant of a run.

    Args:
        settings: where runs lie, threads.
        arguments: `run`, `variant`, `format`, `out`.
        options: of the exporter.

    Raises:
        UserError: an argument is missing or wrong, or as `dqf.exporting.export.export`.
    """
    for name in ("run", "variant", "format"):
        if getattr(arguments, name) is None:
            shown = "--format" if name == "format" else name.upper()
            raise UserError(f"export needs RUN, VARIANT and --format NAME: {shown} is missing; `--list` shows formats.")
    registry.get("exporter", arguments.format)
    run_dir, result, row = _find(settings, arguments.run, arguments.variant)
    variant_id = row["variant_id"]
    out = arguments.out or run_dir / FOLDER / f"{variant_id}-{arguments.format}"
    given = [part for name, value in options.items() for part in (_flag(arguments.format, name), str(value))]
    command = ("python", "-m", "dqf", "export", run_dir.name, variant_id, "--format", arguments.format, *given)
    return export(
        run_dir / row["artifact"],
        arguments.format,
        Path(out).expanduser().absolute(),
        options,
        probe=probe_of_run(run_dir, settings),
        origin=Origin(run_dir.name, variant_id, result, command),
        threads=settings.threads,
    )


def formats(settings: Settings, run: str | None, variant: str | None) -> list[dict[str, Any]]:
    """Return one row per format: name, what it is, which packages are missing, why a variant cannot take it."""
    artifact: Artifact | None = None
    if run is not None and variant is not None:
        run_dir, _, row = _find(settings, run, variant)
        artifact = open_artifact(run_dir / row["artifact"], check=False)
    return [
        {
            "format": entry.name,
            "title": entry.title,
            "summary": entry.summary,
            "consumer": entry.facts["consumer"],
            "missing": missing_packages(entry),
            "refused": entry.facts["refuse"](artifact, entry.config()) if artifact else "",
        }
        for entry in registry.entries("exporter")
    ]


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the formats as text."""
    shown = [
        (
            row["format"],
            row["consumer"],
            f"install {', '.join(row['missing'])}" if row["missing"] else "yes",
            row["refused"] or row["summary"],
        )
        for row in rows
    ]
    return terminal.table(
        ("format", "verified by", "available", "what it does, or why this variant cannot"), shown, left=4
    )


def sentence(made: ExportResult) -> str:
    """Return what was made, for people."""
    seen = made.record["verification"]
    lines = [
        f"{made.folder}: {made.size_bytes / 1e6:.1f} MB, loaded by {seen['consumer']}; logits differ by "
        f"{seen['relative_l2_error']:.2e} (relative L2, n = {seen['n']}), {seen['argmax_agreement']:.1%} of the "
        "predictions agree."
    ]
    return "\n".join([*lines, *(f"  {note}" for note in made.record["notes"])])


def _find(settings: Settings, run: str, variant: str) -> tuple[Path, Mapping[str, Any], Mapping[str, Any]]:
    """Return run directory, result and the variant's row.

    Raises:
        UserError: no such run or variant, or its artifact is not here.
    """
    run_dir = find_run((settings.runs_dir, settings.reference_dir), run)
    result = read_json(run_dir / "result.json")
    if not isinstance(result, dict):
        raise UserError(f"a run must have a result before it is exported: {run_dir.name} has none; resume it.")
    rows = {row["variant_id"]: row for row in result.get("variants", ())}
    if variant not in rows:
        raise UserError(f"a variant must be one of the run's: got {variant!r}{did_you_mean(variant, rows)}")
    row = rows[variant]
    if not row.get("artifact") or not (run_dir / row["artifact"]).is_dir():
        raise UserError(
            f"a variant's artifact must be here to be exported: {run_dir.name} holds none of {variant}; "
            "run its config again."
        )
    return run_dir, result, row


def _flag(exporter: str, option: str) -> str:
    """Return the flag of an exporter's setting."""
    return next(flag.name for flag in flags.exporter_flags() if exporter in flag.methods and flag.path[-1] == option)
