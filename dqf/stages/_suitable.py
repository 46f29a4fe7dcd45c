"""A student that could not be quantized is refused before anything is trained."""

from __future__ import annotations

from torch import nn

from dqf.errors import UserError
from dqf.models.loading import load_architecture
from dqf.models.suitable import refuse_unsuitable
from dqf.quant.model import Scope, quantizable
from dqf.quant.qparams import check_group_size
from dqf.sections.quantization import QuantizationConfig
from dqf.settings import Settings


def refuse_unsuitable_source(source: str, config: QuantizationConfig, settings: Settings) -> None:
    """Refuse a source of students by its architecture; of a hub id its config alone is fetched.

    Raises:
        UserError: it cannot be found, or not be quantized with these settings.
    """
    model = load_architecture(source, settings)
    if model is not None:
        refuse_unsuitable_student(model, config)


def refuse_unsuitable_student(model: nn.Module, config: QuantizationConfig) -> None:
    """Refuse a student by its architecture; its weights need not be there.

    Raises:
        UserError: it cannot be quantized, or the group size divides not all of its rows.
    """
    refuse_unsuitable(model)
    layers = (model.get_submodule(name) for name in quantizable(model, Scope(config.embeddings, config.head)))
    columns = sorted({layer.get_parameter("weight").shape[1] for layer in layers})
    message = check_group_size(columns, config.group_size)
    if message:
        raise UserError(message)
