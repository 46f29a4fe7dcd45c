"""Which artifacts may be served to people: a recorded, verified variant of a run directory, as it was measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dqf.artifacts import WEIGHTS, open_artifact
from dqf.errors import UserError
from dqf.exporting.places import variant_of

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Model:
    """A variant that can be served.

    Attributes:
        key: `run_id/variant_id`.
        folder: of its artifact.
        runtime: registered name of the one it was measured in.
        device: `cpu` or `cuda`.
        lengths: of single texts, in tokens, that had graphs of their own when it was timed.
        expected_bytes: memory that the process took which evaluated it.
        signature: name, size, time and inode of the artifact's files; differs once any was touched.
    """

    key: str
    folder: Path
    runtime: str
    device: str
    lengths: tuple[int, ...]
    expected_bytes: int
    signature: Signature


def find_model(run_dir: Path, variant_id: str) -> Model:
    """Return a variant of a run as a model to serve; its weights are hashed by the process that loads them.

    Raises:
        UserError: not recorded, not verified, its artifact is not here, leads elsewhere, or is not the
            one that was measured.
    """
    place = variant_of(run_dir, variant_id)
    key = f"{run_dir.name}/{variant_id}"
    if not place.row.get("verified"):
        raise UserError(f"a variant must be verified to be served: {key} is not; see its stages on the page Runs.")
    signature = _signature(place.artifact)
    manifest = open_artifact(place.artifact, check=False).manifest
    if manifest["files"].get(WEIGHTS) != place.row["weights_sha256"]:
        raise UserError(
            f"an artifact must be the one that was measured: {key} names other weights than its result; "
            "run its config again."
        )
    device = str(place.result.get("environment", {}).get("device", "cpu")).split(":")[0]
    expected = int(place.row.get("peak_rss_bytes") or 0)
    lengths = tuple((place.row.get("fixed_lengths") or {}).get("lengths", ()))
    return Model(key, place.artifact, str(place.row["runtime"]), device, lengths, expected, signature)


def _signature(folder: Path) -> Signature:
    """Return what tells whether files were touched.

    Raises:
        UserError: one of them is not a plain file of the folder.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise UserError(f"an artifact must hold plain files only: {folder.name}/{path.name} is not one.")
        state = path.stat()
        found.append((path.name, state.st_size, state.st_mtime_ns, state.st_ino))
    return tuple(found)
