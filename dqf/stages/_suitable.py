"""A student that could not be quantized is refused before anything is trained."""

from __future__ import annotations

from typing import Any

from torch import nn

from dqf.config import RunConfig
from dqf.errors import UserError
from dqf.models.catalog import shape_from_config
from dqf.models.loading import layer_stack, load_architecture
from dqf.models.positions import length_error
from dqf.models.suitable import refuse_unsuitable
from dqf.quant.model import Scope, quantizable
from dqf.quant.qparams import check_group_size
from dqf.settings import Settings


def refuse_unsuitable_source(source: str, config: RunConfig, settings: Settings) -> None:
    """Refuse a source of students by its architecture; of a hub id its config alone is fetched.

    Raises:
        UserError: it cannot be found, be quantized with these settings, or take texts of this length.
    """
    model = load_architecture(source, settings)
    if model is not None:
        refuse_short_positions(source, model, config)
        refuse_unsuitable_student(model, config)


def refuse_short_positions(source: str, model: nn.Module, config: RunConfig) -> None:
    """Refuse a model whose table of positions is shorter than the texts may be.

    Raises:
        UserError: it is.
    """
    own: Any = model.config
    message = length_error(source, shape_from_config(own.to_dict()), config.task.max_length)
    if message:
        raise UserError(f"`task.max_length` {message}")


def refuse_unsuitable_student(model: nn.Module, config: RunConfig) -> None:
    """Refuse a student by its architecture; its weights need not be there.

    Raises:
        UserError: it cannot be quantized, or the group size divides not all of its rows.
    """
    refuse_unsuitable(model)
    layer_stack(model)  # blocks are read from the disk one after the other
    scope = Scope(config.quantization.embeddings, config.quantization.head)
    columns = sorted({model.get_submodule(name).get_parameter("weight").shape[1] for name in quantizable(model, scope)})
    message = check_group_size(columns, config.quantization.group_size)
    if message:
        raise UserError(message)
