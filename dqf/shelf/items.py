"""The artifacts and exports of a run, and how to remove one."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from dqf import registry
from dqf.artifacts import MANIFEST, Artifact, open_artifact
from dqf.errors import UserError
from dqf.exporting import jobs
from dqf.exporting.card import Origin, artifact_card
from dqf.exporting.package import CARD
from dqf.exporting.places import Place, variant_of
from dqf.jobs import protocol
from dqf.jobs.claims import claim
from dqf.settings import Settings
from dqf.shelf.usage import Usage, usage_of

PACKED = "dqf"
"""Stands for the packed artifact itself among the formats."""


@dataclass(frozen=True)
class Item:
    """One thing that can be taken from the shelf.

    Attributes:
        place: the variant.
        artifact: of the variant.
        format: registered exporter, or `PACKED`.
        title: of the format.
        folder: where its files lie.
        usage: what they take.
    """

    place: Place
    artifact: Artifact
    format: str
    title: str
    folder: Path
    usage: Usage

    @property
    def is_packed(self) -> bool:
        """Whether it is the artifact itself."""
        return self.format == PACKED

    def card(self) -> str:
        """Return its model card, Markdown from outside: show it as text."""
        if not self.is_packed:
            try:
                return (self.folder / CARD).read_text(encoding="utf-8", errors="replace")
            except OSError:
                return "The card is missing: make the export again."
        run_dir = self.place.run_dir
        return artifact_card(self.artifact, Origin(run_dir.name, self.place.variant_id, self.place.result))


def items_of(run_dir: Path) -> list[Item]:
    """Return what a run has on the shelf, by variant, the packed artifact before its exports."""
    result = protocol.read_json(run_dir / "result.json")
    found: list[Item] = []
    for row in (result or {}).get("variants", ()):
        try:
            place = variant_of(run_dir, str(row["variant_id"]))
            artifact = open_artifact(place.artifact, check=False)
        except (UserError, OSError, KeyError, TypeError):
            continue
        found.append(Item(place, artifact, PACKED, "Packed artifact", place.artifact, usage_of(place.artifact)))
        for entry in registry.entries("exporter"):
            made = jobs.made(place, artifact, entry.name)
            if made is not None:
                found.append(Item(place, artifact, entry.name, entry.title, made.folder, usage_of(made.folder)))
    return found


def has_items(run_dir: Path) -> bool:
    """Tell quickly whether a run has an artifact."""
    return any((run_dir / "artifacts").glob(f"*/{MANIFEST}"))


def goes_with(item: Item, items: list[Item]) -> list[Item]:
    """Return what is removed together with an item: an artifact takes its exports along."""
    if not item.is_packed:
        return [item]
    return [one for one in items if one.place.variant_id == item.place.variant_id]


def remove(settings: Settings, item: Item) -> list[str]:
    """Remove an item for good; figures and predictions of the variant stay.

    Returns:
        Names of the folders that were removed.

    Raises:
        UserError: the run is a committed one, still works, or is being exported.
    """
    run_dir = item.place.run_dir
    if run_dir.parent != settings.runs_dir:
        raise UserError(f"a committed run is not changed from here: {run_dir.name} lies in {run_dir.parent.name}.")
    with claim(run_dir):
        if protocol.run_state(run_dir) in protocol.LIVE_STATES:
            raise UserError(f"a run must have ended before its files are removed: {run_dir.name} still works.")
        working = jobs.working(settings)
        if working is not None and working.parents[2] == run_dir:
            raise UserError(f"an export of {run_dir.name} is being made: wait for it or cancel it, then remove.")
        removed = []
        for one in goes_with(item, items_of(run_dir)):
            if one.folder.is_symlink() or run_dir.resolve() not in one.folder.resolve().parents:
                raise UserError(f"only folders of the run itself are removed: {one.folder.name} leads elsewhere.")
            remove_folder(one.folder)
            removed.append(one.folder.name)
    return removed


def remove_folder(folder: Path) -> None:
    """Remove a folder so that nobody ever sees a part of it."""
    aside = folder.with_name(f".removed-{secrets.token_hex(4)}")
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
