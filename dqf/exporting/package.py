"""A folder's files as one zip, made while it is sent: nothing of it is kept in memory or on disk.

Weights do not get smaller by deflating, so files are stored as they are. Each file that has a recorded
hash is hashed on its way: if it is not the recorded one, the zip ends without its directory, so that
no tool takes it for whole.
"""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dqf.artifacts import MANIFEST, Artifact
from dqf.errors import UserError
from dqf.exporting.export import RECORD, ExportResult

CHUNK_BYTES = 1 << 20
CARD = "README.md"
OTHER_PARTS = (MANIFEST, "config.json", "tokenizer.json", "receipt.json", "graph.xml")
LARGEST_PLAIN_BYTES = 1 << 31
"""Above this, entries get 64-bit fields."""


@dataclass(frozen=True)
class Package:
    """What goes into a zip.

    Attributes:
        folder: where the files lie; its name is the folder inside the zip.
        files: hash by name, empty where none is recorded.
        card: text of `README.md`, where it is none of the files.
    """

    folder: Path
    files: Mapping[str, str]
    card: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes of the files and the card."""
        return sum((self.folder / name).stat().st_size for name in self.files) + len(self.card.encode())


def package_of_export(export: ExportResult) -> Package:
    """Return the files of a verified export with its card and record."""
    hashes = {name: str(one["sha256"]) for name, one in export.record["files"].items()}
    return _checked(Package(export.folder, {CARD: "", RECORD: "", **hashes}))


def package_of_artifact(artifact: Artifact, card: Callable[[], str]) -> Package:
    """Return the files of an artifact with its card, which is made once they are known to be its own."""
    others = {name: "" for name in OTHER_PARTS if (artifact.folder / name).is_file()}
    hashes = {**artifact.manifest.get("parts", {}), **artifact.manifest["files"]}  # older artifacts have no `parts`
    package = _checked(Package(artifact.folder, {**others, **hashes}))
    return replace(package, card=card())


def _checked(package: Package) -> Package:
    """Return it if it holds plain files of its own folder only.

    Raises:
        UserError: a name or a link leads elsewhere, or a file is missing.
    """
    home = package.folder.resolve()
    for name in package.files:
        path = package.folder / name
        if Path(name).name != name or path.resolve().parent != home or not path.is_file():
            raise UserError(f"a download must hold files of its own folder: {package.folder.name}/{name} is not one.")
    return package


def zip_size_bytes(package: Package) -> int | None:
    """Return the exact size of the zip, None where entries are so large that it varies."""
    if package.size_bytes >= LARGEST_PLAIN_BYTES:
        return None
    entries = [*package.files, *([CARD] if package.card else [])]
    names = sum(len(f"{package.folder.name}/{name}".encode()) for name in entries)
    # per file: header 30, descriptor 16, entry of the directory 46, its name twice; end of the directory 22
    return package.size_bytes + 92 * len(entries) + 2 * names + 22


def zip_chunks(package: Package) -> Iterator[bytes]:
    """Yield the zip piece by piece.

    Raises:
        UserError: a file is not as it was verified; what was yielded so far is no whole zip.
    """
    sink = _Sink()
    archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED)  # closed only when every file was right
    if package.card:
        with archive.open(zipfile.ZipInfo(f"{package.folder.name}/{CARD}", time.localtime()[:6]), "w") as target:
            target.write(package.card.encode())
        yield sink.take()
    for name, expected in package.files.items():
        path = package.folder / name
        info = zipfile.ZipInfo.from_file(path, f"{package.folder.name}/{name}", strict_timestamps=False)
        digest = hashlib.sha256()
        with (
            path.open("rb") as source,
            archive.open(info, "w", force_zip64=package.size_bytes >= LARGEST_PLAIN_BYTES) as target,
        ):
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
                yield sink.take()
        if expected and digest.hexdigest() != expected:
            raise UserError(
                f"a file must be as it was verified: {package.folder.name}/{name} has SHA-256 "
                f"{digest.hexdigest()[:16]}, expected {expected[:16]}; export it again."
            )
    archive.close()
    yield sink.take()


class _Sink(io.RawIOBase):
    """Takes what is written until it is taken away; cannot seek, so that zipfile writes in one go."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
