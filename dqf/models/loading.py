"""From a source (starter, hub id, folder, teacher's layers) to a classifier in FP32 and its tokenizer."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from dqf.data.encode import mark_pairs
from dqf.data.tasks import REGRESSION, Task
from dqf.errors import UserError
from dqf.models.catalog import local_model_path
from dqf.models.revision import hub_revision
from dqf.models.safety import refuse_unsafe_model
from dqf.models.soundness import refuse_broken_weights
from dqf.models.tokenizer import own_tokenizer
from dqf.settings import Settings

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

TOKENIZER = "tokenizer.json"
ONE_STACK = "a model to cut or to quantize must have one stack of layers"


@dataclass
class Classifier:
    """A model with what is needed to feed it.

    Attributes:
        model: transformers sequence-classification module, FP32, on the CPU.
        tokenizer_json: file of the fast tokenizer.
        pad_id: token id used for padding.
        fine_tuned: whether its head was already trained for this task, as far as its names say.
        has_head: whether it was trained with a head of as many outputs.
    """

    model: PreTrainedModel
    tokenizer_json: Path
    pad_id: int
    fine_tuned: bool = False
    has_head: bool = False

    @property
    def config(self) -> Any:
        """The transformers config."""
        return self.model.config


def load_source(source: str, task: Task, settings: Settings, seed: int, scratch: Path) -> Classifier:
    """Load a starter, local folder or hub id as a classifier for the task.

    Args:
        source: as in `TeacherConfig.model`.
        task: decides the width of the head.
        settings: allowed roots.
        seed: of a new head's weights.
        scratch: folder that receives `tokenizer.json`.

    Returns:
        The classifier; its head is new unless the checkpoint brought one that fits.

    Raises:
        UserError: not found, not allowed, unsafe or broken weights, or an architecture without a classifier.
    """
    path = local_model_path(source, settings)
    if path is not None and path.is_dir() and not source.startswith("starter:"):
        refuse_unsafe_model(path, settings.model_dirs)
    torch.manual_seed(seed)
    try:
        if path is not None and path.suffix == ".gguf":
            model = _from_gguf(path, task)
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        else:
            name, revision = str(path or source), _revision(source, path)
            config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
            options = _head_options(config, task)
            model = AutoModelForSequenceClassification.from_pretrained(
                name,
                revision=revision,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="eager",
                ignore_mismatched_sizes=True,
                **options,
            )
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise _not_loadable(source, error) from error
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(f"a model must have a fast tokenizer (tokenizer.json): {source} has none.")
    refuse_broken_weights(source, model.named_parameters())
    scratch.mkdir(parents=True, exist_ok=True)
    rows = len(model.get_input_embeddings().get_parameter("weight"))
    backend = tokenizer.backend_tokenizer
    if path is None or path.is_dir():
        backend = own_tokenizer(str(path or source), _revision(source, path), tokenizer, rows)
    mark_pairs(backend)
    backend.save(str(scratch / TOKENIZER))
    known = (tokenizer.pad_token_id, model.config.pad_token_id, tokenizer.eos_token_id)
    pad_id = next((i for i in known if i is not None and 0 <= i < rows), 0)
    model.config.pad_token_id = pad_id
    model.config.use_cache = False
    has_head = (path is None or path.is_dir()) and _has_trained_head(str(path or source), task)
    fine_tuned = has_head and _may_mean(model.config, task)
    if has_head:
        _reorder_labels(model, task)
    if task.kind != REGRESSION:  # another task's classes may be as many
        model.config.id2label = dict(enumerate(task.labels))
        model.config.label2id = {label: i for i, label in enumerate(task.labels)}
    return Classifier(model, scratch / TOKENIZER, int(pad_id), fine_tuned, has_head)


def load_architecture(source: str, settings: Settings) -> nn.Module | None:
    """Return a classifier without its weights (on the meta device); of a hub id its config alone is fetched.

    Args:
        source: a local folder or hub id; None is returned for others (GGUF files, starters).
        settings: allowed roots.

    Raises:
        UserError: not found, not allowed, or an architecture without a classifier.
    """
    path = local_model_path(source, settings)
    if source.startswith("starter:") or (path is not None and not path.is_dir()):
        return None
    try:
        revision = _revision(source, path)
        config = AutoConfig.from_pretrained(str(path or source), revision=revision, trust_remote_code=False)
        with torch.device("meta"):
            model: nn.Module = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    except (OSError, ValueError, ImportError) as error:
        raise _not_loadable(source, error) from error
    return model


def _revision(source: str, path: Path | None) -> str:
    """Return the commit of a hub id that its caches are known by, so that no later one is loaded."""
    return (hub_revision(source) if path is None else "") or "main"


def _not_loadable(source: str, error: Exception) -> UserError:
    reason = str(error).split("\n")[0][:160]
    return UserError(
        f"a model must be loadable from its folder or the hub as safetensors, without code of its own: "
        f"{source} is not ({reason})."
    )


def load_folder(folder: Path) -> Classifier:
    """Load a model folder this program wrote (`save_folder`), as FP32 with eager attention."""
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, attn_implementation="eager"
    )
    return Classifier(model, folder / TOKENIZER, int(model.config.pad_token_id), True)


def save_folder(classifier: Classifier, folder: Path) -> None:
    """Write a model folder: FP16 safetensors, config and tokenizer.

    The model's own weights are rounded to FP16 too, so that what goes on in memory is what was saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = classifier.model
    round_to_half(model)
    model.half().save_pretrained(folder)
    model.float()
    if classifier.tokenizer_json.resolve() != (folder / TOKENIZER).resolve():
        shutil.copyfile(classifier.tokenizer_json, folder / TOKENIZER)


def round_to_half(model: nn.Module) -> None:
    """Round every floating-point weight to the nearest FP16 value, in place.

    Raises:
        UserError: a weight is too large for FP16 or not finite.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            half = weight.half()
            if not torch.isfinite(half).all():
                raise UserError(f"weights must be finite and fit FP16: {name} does not; lower the learning rate.")
            weight.copy_(half)


def cut_layers(teacher: Classifier, layers: Sequence[int]) -> Classifier:
    """Return a student that keeps some of the teacher's own layers, with its embeddings and head.

    Args:
        teacher: the fine-tuned teacher; it is taken apart, not copied.
        layers: numbers of the layers to keep, rising.

    Returns:
        The student.

    Raises:
        UserError: the architecture has no single stack of layers.
    """
    refuse_split_layers(teacher.model)
    name, stack = layer_stack(teacher.model)
    kept = nn.ModuleList([stack[i] for i in layers])
    for i, layer in enumerate(kept):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                setattr(module, "layer_idx", i)  # noqa: B010 - nn.Module's own attributes are typed as modules
    parent = teacher.model.get_submodule(name.rpartition(".")[0])
    setattr(parent, name.rpartition(".")[2], kept)
    teacher.config.num_hidden_layers = len(kept)
    if getattr(teacher.config, "layer_types", None):
        teacher.config.layer_types = [teacher.config.layer_types[i] for i in layers]
    return teacher


def layer_stack(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return name and list of the model's transformer layers (its longest ModuleList).

    Raises:
        UserError: there is none.
    """
    stacks = _module_lists(model)
    if not stacks:
        raise UserError(f"{ONE_STACK}: {type(model).__name__} has none; take another.")
    return max(stacks, key=lambda pair: (len(pair[1]), -len(pair[0])))


def refuse_split_layers(model: nn.Module) -> None:
    """Refuse a model that keeps the parts of its layers in lists of their own, as XLM does: no list holds its blocks.

    Raises:
        UserError: it does, or has no list of layers at all.
    """
    name, stack = layer_stack(model)
    parent = name.rpartition(".")[0]
    alike = [one for one, module in _module_lists(model) if len(module) == len(stack)]
    beside = [one for one in alike if one.rpartition(".")[0] == parent]
    if len(beside) > 1:
        raise UserError(
            f"{ONE_STACK}: {type(model).__name__} keeps the parts of its layers in {len(beside)} lists; take another."
        )


def _module_lists(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]


def parameter_count(model: nn.Module) -> int:
    """Return the number of parameters, shared ones counted once."""
    return sum(weight.numel() for weight in model.parameters())


def takes_token_types(model: PreTrainedModel) -> bool:
    """Tell whether a model tells the two texts of a pair apart by token type ids."""
    return getattr(model.config, "type_vocab_size", 0) > 1


def _from_gguf(path: Path, task: Task) -> PreTrainedModel:
    """Load a GGUF file dequantized, without the marks that would stop it from being saved again."""
    loaded = AutoModelForSequenceClassification.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager", **_head_options(None, task)
    )
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager", dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    return model


def _head_options(config: Any, task: Task) -> dict[str, Any]:
    options: dict[str, Any] = {"num_labels": task.outputs}
    if task.kind == REGRESSION:
        options["problem_type"] = "regression"
    elif config is None or len(getattr(config, "id2label", {}) or {}) != len(task.labels):
        options["id2label"] = dict(enumerate(task.labels))
        options["label2id"] = {label: i for i, label in enumerate(task.labels)}
    return options


def _has_trained_head(name: str, task: Task) -> bool:
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    headed = any("SequenceClassification" in one for one in config.architectures or [])
    return headed and config.num_labels == task.outputs


def _names(config: Any) -> list[str]:
    """Return what a checkpoint calls its outputs, in order."""
    pairs = sorted(dict(config.id2label or {}).items(), key=lambda pair: int(pair[0]))
    return [_plain(str(name)) for _, name in pairs]


def _plain(label: str) -> str:
    return label.lower().replace(" ", "_")


def _may_mean(config: Any, task: Task) -> bool:
    """Tell whether a head's outputs may be the task's classes: they bear their names, or none but numbers."""
    names = _names(config)
    nameless = all(re.fullmatch(r"(label_)?\d+", name) for name in names)
    return task.kind == REGRESSION or nameless or sorted(names) == sorted(map(_plain, task.labels))


def _reorder_labels(model: PreTrainedModel, task: Task) -> None:
    """Bring a checkpoint's outputs into the task's label order, where its names say that they differ."""
    names, wanted = _names(model.config), [_plain(label) for label in task.labels]
    if sorted(names) != sorted(wanted) or names == wanted:
        return
    order = torch.tensor([names.index(label) for label in wanted])
    head = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == len(names)]
    with torch.no_grad():
        head[-1].weight.copy_(head[-1].weight[order])
        if head[-1].bias is not None:
            head[-1].bias.copy_(head[-1].bias[order])


def read_folder_config(folder: Path) -> dict[str, Any]:
    """Return the content of a model folder's config.json."""
    data: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return data
