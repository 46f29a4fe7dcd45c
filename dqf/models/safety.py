"""What a model folder may hold: safetensors that are what they say, and no code, however deep or renamed. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dqf.errors import UserError

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".h5", ".msgpack"})
LARGEST_JSON_BYTES = 64_000_000
LARGEST_HEADER_BYTES = 100_000_000
_CODE = ("auto_map", "custom_pipelines", "trust_remote_code")


def refuse_unsafe_model(folder: Path, roots: Iterable[Path]) -> None:
    """Refuse pickle weights, remote code, and links that lead out of the allowed folders.

    A folder may hold pickles beside safetensors: they are never read.

    Args:
        folder: of the model.
        roots: where links may lead besides the folder itself (the hub's cache is made of links).

    Raises:
        UserError: what must not be there, or that there are no safetensors.
    """
    allowed = (folder.resolve(), *(root.resolve() for root in roots))
    weights = []
    for path in sorted(folder.iterdir()):
        target = path.resolve()
        if not any(root in target.parents for root in allowed):
            raise UserError(
                f"a model folder may not link to files outside the allowed folders: {path.name} of {folder.name} does; "
                "copy the file."
            )
        if path.suffix == ".safetensors":
            _check_safetensors(path)
            weights.append(path.name)
        elif path.suffix == ".json":
            _check_json(path)
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"a model must be whole: {folder.name} holds an adapter of another one; merge it with `merge_and_unload`."
        )
    if not weights:
        found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in PICKLES)
        got = f"only {found[0]}, a pickle that can run code" if found else "none"
        raise UserError(
            f"weights must be safetensors: {folder.name} has {got}; convert them with `save_pretrained` "
            "(safetensors is its default)."
        )


def _check_safetensors(path: Path) -> None:
    """Read the head of a weight file: a length, then JSON of that length that describes tensors within the file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LARGEST_HEADER_BYTES, size - 8):
                raise ValueError
            header = json.loads(file.read(length))
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        if max(ends, default=0) != size - 8 - length:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise UserError(
            f"a .safetensors file must hold safetensors: {path.parent.name}/{path.name} holds something else or is cut "
            "short; save the model again with `save_pretrained`."
        ) from None


def _check_json(path: Path) -> None:
    try:
        if path.stat().st_size > LARGEST_JSON_BYTES:
            raise ValueError
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{path.name} must be readable JSON: {path.parent.name}/{path.name} is not.") from None
    for key, value in _settings(data):
        if key in _CODE and value:
            raise UserError(
                f"a model may not bring code of its own (`{key}` in {path.name}): {path.parent.name} does; "
                "use an architecture that transformers ships."
            )
        if key == "weight_map" and isinstance(value, dict):
            _check_parts(path, value)


def _check_parts(index: Path, weight_map: dict[str, Any]) -> None:
    for name in {str(one) for one in weight_map.values()}:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(
                f"the parts of {index.name} must be .safetensors files beside it: got {name[:80]!r}; save the model "
                "again with `save_pretrained`."
            )


def _settings(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, however deep; not recursive, so that no depth can break it."""
    waiting = [data]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
