"""`python -m dqf export`: find the variant, export it, say what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dqf import flags, registry, terminal
from dqf.artifacts import Artifact, open_artifact
from dqf.errors import UserError
from dqf.exporting.card import Origin
from dqf.exporting.export import ExportResult, export, missing_packages
from dqf.exporting.places import Place, find_variant
from dqf.exporting.probe import probe_of_run
from dqf.progress import Reporter
from dqf.settings import Settings


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
    place = find_variant(settings, arguments.run, arguments.variant)
    out = Path(arguments.out or place.export(arguments.format)).expanduser().absolute()
    return export_place(settings, place, arguments.format, out, options)


def export_place(
    settings: Settings,
    place: Place,
    name: str,
    out: Path,
    options: Mapping[str, Any],
    reporter: Reporter | None = None,
) -> ExportResult:
    """Export a variant with all that its run knows of it.

    Args:
        settings: where its data lies, threads.
        place: the variant.
        name: registered exporter.
        out: folder to make.
        options: of the exporter.
        reporter: is told how far it is.

    Raises:
        UserError: as `dqf.exporting.export.export`.
    """
    given = [part for option, value in options.items() for part in (_flag(name, option), str(value))]
    command = ("python", "-m", "dqf", "export", place.run_dir.name, place.variant_id, "--format", name, *given)
    return export(
        place.artifact,
        name,
        out,
        options,
        probe=probe_of_run(place.run_dir, settings),
        origin=Origin(place.run_dir.name, place.variant_id, place.result, command),
        threads=settings.threads,
        reporter=reporter,
    )


def formats(settings: Settings, run: str | None, variant: str | None) -> list[dict[str, Any]]:
    """Return one row per format: name, what it is, which packages are missing, why a variant cannot take it."""
    artifact: Artifact | None = None
    if run is not None and variant is not None:
        artifact = open_artifact(find_variant(settings, run, variant).artifact, check=False)
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


def _flag(exporter: str, option: str) -> str:
    """Return the flag of an exporter's setting."""
    return next(flag.name for flag in flags.exporter_flags() if exporter in flag.methods and flag.path[-1] == option)
