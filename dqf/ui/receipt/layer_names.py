"""Short names of layers: how deep a weight lies and what it does there, read from its full name. Pure text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_IN_BLOCK = re.compile(r"^(?:(?P<stack>.+?)\.)?(?P<depth>[0-9]{1,4})\.(?P<inner>.+)$")


@dataclass(frozen=True)
class LayerName:
    """One weight's place in its model.

    Attributes:
        depth: number of the transformer layer, None outside the stack of layers.
        role: what it is there, for example `q_proj` or `attention.output.dense`.
    """

    depth: int | None
    role: str

    @property
    def label(self) -> str:
        """Return `3 · q_proj`, or the role alone outside the stack."""
        return self.role if self.depth is None else f"{self.depth} · {self.role}"


def layer_names(weights: Sequence[str]) -> list[LayerName]:
    """Return the short names of a model's weights, roles cut to the shortest ending that no other shares.

    Args:
        weights: full names, for example `model.layers.3.self_attn.q_proj.weight`.
    """
    found: list[tuple[str, int | None, str]] = []
    for weight in weights:
        name = weight.removesuffix(".weight")
        match = _IN_BLOCK.match(name)
        found.append((match["stack"] or "", int(match["depth"]), match["inner"]) if match else ("", None, name))
    several = len({stack for stack, depth, _ in found if depth is not None}) > 1  # an encoder and a decoder
    paths = [f"{stack}.{inner}" if several and stack else inner for stack, _, inner in found]
    short = _shortest_endings(paths)
    return [LayerName(depth, short[path]) for (_, depth, _), path in zip(found, paths, strict=True)]


def _shortest_endings(paths: Iterable[str]) -> dict[str, str]:
    """Return for each path its shortest ending of whole parts that belongs to no other, else the path."""
    endings = {path: _endings(path) for path in paths}
    shared = Counter(ending for found in endings.values() for ending in found)
    return {path: next((one for one in found if shared[one] == 1), path) for path, found in endings.items()}


def _endings(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
