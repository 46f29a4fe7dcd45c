"""Which layers of the teacher a student's layers are matched with; no torch here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from dqf import registry
from dqf.data.encode import mark_pairs
from dqf.errors import UserError
from dqf.models.catalog import TEACHER_LAYERS, local_model_path
from dqf.settings import Settings

if TYPE_CHECKING:
    from dqf.config import RunConfig

NONE, LAST, UNIFORM = "none", "last", "uniform"
_PAIR = re.compile(r"(\d+):(\d+)")

DIFFERENT_TOKENS = (
    "matches attention token by token, so teacher and student must split texts into the same tokens: these two do "
    "not; use 0, which leaves whole sentences to be matched, or a student of the teacher's layers."
)
DIFFERENT_ARCHITECTURES = "matches attention between models of one architecture: got {} and {}; use 0."


@dataclass(frozen=True)
class FeaturePlan:
    """What a distiller wants to see of teacher and student besides their logits.

    Attributes:
        pairs: (teacher layer, student layer), counted from 1; 0 is what goes into the first layer.
        pooling: how a sentence's token states become one: `mean`, or `last` for a decoder's last token.
        attention: whether the attention maps of the last pair are wanted too.
    """

    pairs: tuple[tuple[int, int], ...]
    pooling: str
    attention: bool = False

    @property
    def teacher_layers(self) -> tuple[int, ...]:
        """The teacher's layers that are looked at, rising."""
        return tuple(sorted({teacher for teacher, _ in self.pairs}))


def parse_layers(text: str) -> tuple[tuple[int, int], ...] | str:
    """Return explicit pairs, or one of the words `none`, `last` and `uniform`.

    Raises:
        UserError: it is neither.
    """
    if text in (NONE, LAST, UNIFORM):
        return text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    found = [_PAIR.fullmatch(part) for part in parts]
    if not parts or not all(found):
        raise UserError(
            f"`layers` must be last, uniform, none, or pairs teacher:student such as 10:2,20:4,30:6: got {text!r}."
        )
    pairs = tuple((int(one[1]), int(one[2])) for one in found if one)
    if len({student for _, student in pairs}) < len(pairs):
        raise UserError(f"`layers` must name each student layer once: got {text!r}.")
    return pairs


def layer_pairs(text: str, teacher_layers: int, student_layers: int) -> tuple[tuple[int, int], ...]:
    """Return (teacher layer, student layer) for each pair that `text` chooses, by rising student layer.

    Args:
        text: `last` pairs the last layers, `uniform` every student layer with a teacher layer at the same
            relative depth, `none` nothing; or pairs such as `10:2,20:4,30:6`.
        teacher_layers: how many there are.
        student_layers: how many there are.

    Raises:
        UserError: not a layer map, or a layer that is not there.
    """
    chosen = parse_layers(text)
    if chosen == NONE:
        return ()
    if chosen == LAST:
        return ((teacher_layers, student_layers),)
    if isinstance(chosen, str):
        depth = range(1, student_layers + 1)
        return tuple((max(1, round(layer * teacher_layers / student_layers)), layer) for layer in depth)
    for who, number, of in (("teacher", 0, teacher_layers), ("student", 1, student_layers)):
        highest = max(pair[number] for pair in chosen)
        if highest > of:
            raise UserError(f"`layers` of the {who} go from 1 to {of} (0: its embeddings): got {highest}.")
    return tuple(sorted(chosen, key=lambda pair: pair[1]))


def needs_features(config: RunConfig) -> bool:
    """Tell whether the chosen distiller, with its settings, looks at more than logits."""
    needs = registry.get("distiller", config.distillation.method).facts.get("needs_features")
    return bool(needs and needs(config.distiller_options()))


def feature_plan(config: RunConfig, teacher_layers: int, student_layers: int) -> FeaturePlan:
    """Return what the chosen distiller looks at.

    Args:
        config: of a distiller that `needs_features`.
        teacher_layers: how many there are.
        student_layers: how many there are.

    Raises:
        UserError: its settings name layers that are not there.
    """
    entry = registry.get("distiller", config.distillation.method)
    plan: FeaturePlan = entry.facts["feature_plan"](config.distiller_options(), teacher_layers, student_layers)
    return plan


def same_tokenizer(one: str, other: str, settings: Settings) -> bool | None:
    """Tell whether two sources split texts into the same tokens; None where that is known only once they are fetched.

    Raises:
        UserError: a path outside the allowed roots or that does not exist, or a missing wheel.
    """
    if one == other or TEACHER_LAYERS in (one, other):
        return True
    if one.startswith("starter:") and other.startswith("starter:"):
        return False
    paths = [local_model_path(source, settings) for source in (one, other)]
    files = [path / "tokenizer.json" for path in paths if path is not None and path.is_dir()]
    if len(files) < 2 or not all(file.is_file() for file in files):
        return None
    left, right = map(_as_loaded, files)
    return all(left.get(part) == right.get(part) for part in (left.keys() | right.keys()) - {"padding", "truncation"})


def _as_loaded(file: Path) -> dict[str, Any]:
    """Return a `tokenizer.json` as it is once its model is loaded."""
    tokenizer = Tokenizer.from_file(str(file))
    mark_pairs(tokenizer)
    data: dict[str, Any] = json.loads(tokenizer.to_str())
    return data
