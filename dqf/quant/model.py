"""Quantize a whole model, block after block, and keep a receipt of what happened to every layer.

Blocks are calibrated in order on the model as quantized so far; the layers of one block are sampled
together before any of them is quantized (see docs/decisions/0007).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dqf.errors import UserError
from dqf.models.loading import layer_stack
from dqf.models.streaming import StreamedModel
from dqf.progress import Reporter
from dqf.quant.block_tuning import BlockTuner
from dqf.quant.calibration import Blocks, inputs_of_whole_passes
from dqf.quant.qparams import QuantizedWeight
from dqf.quant.receipts import LayerReceipt
from dqf.quant.work import Method, Work

BIASES = "relative_attention_bias"
"""Tables of that name hold a number per head and distance (MPNet): a few hundred weights, too few in a row to scale."""


@dataclass(frozen=True)
class Scope:
    """Which layers are quantized; blocks' linear layers always are.

    Attributes:
        embeddings: tables of `nn.Embedding`.
        head: linear layers outside the transformer blocks: heads, poolers, the output projection.
    """

    embeddings: bool = True
    head: bool = True


@torch.inference_mode()
def quantize_model(
    model: nn.Module,
    method: Method,
    calibration: Sequence[dict[str, Tensor]],
    reporter: Reporter,
    scope: Scope = Scope(),
    source: StreamedModel | None = None,
) -> tuple[dict[str, QuantizedWeight], list[LayerReceipt]]:
    """Quantize every `nn.Linear` and `nn.Embedding` in scope, in place.

    Args:
        model: FP32 model in evaluation mode; its weights become what the codes stand for.
        method: quantizer, settings, granularity.
        calibration: batches of model inputs with `attention_mask`.
        reporter: receives layers done.
        scope: which layers.
        source: where blocks come from that are not in memory; they are empty again afterwards.

    Returns:
        Quantized weights by parameter name (a tied weight stands once), and one receipt a layer.

    Raises:
        UserError: no calibration data for a method that needs it, an architecture that cannot be quantized, weights
            that are not finite, or a group size that does not fit; all before any layer is touched.
    """
    if method.entry.facts.get("needs_calibration") and not calibration:
        raise UserError(f"{method.entry.title} needs calibration samples: got none; raise `calibration_samples`.")
    work = Work(model, method, reporter, source)
    work.check(quantizable(model, scope))
    with _without_cache(model):
        _carry_out(model, work, _layers(model, scope), calibration)
    return work.weights, work.receipts


def _carry_out(
    model: nn.Module,
    work: Work,
    layers: tuple[list[str], list[list[str]], list[str]],
    calibration: Sequence[dict[str, Tensor]],
) -> None:
    """Quantize tables, then block after block, then what stands outside the blocks."""
    tables, stack, rest = layers
    for name in tables:
        work.quantize([name], None)
    work.call_engine(calibration)
    blocks = None
    if stack and calibration:
        with work.block(0):
            blocks = Blocks(model, layer_stack(model)[1], calibration)
        if blocks.repeated:
            work.load_blocks()
    tuner = None
    if blocks is not None and not blocks.repeated and work.block_steps:
        tuner = BlockTuner(blocks, work.block_steps)
    for index, names in enumerate(stack):
        with work.block(index):
            if blocks is None:
                work.quantize(names, None)
                continue
            originals = {}
            if tuner is not None:
                tuner.look_ahead(index)
                originals = {name: work.linear(name).weight.float().clone() for name in names}
            found = blocks.inputs_of(index, {name: work.linear(name) for name in names})
            readers: dict[int, list[str]] = {}
            for name, inputs in found.items():
                readers.setdefault(id(inputs), []).append(name)
            for group in readers.values():
                work.quantize(group, found[group[0]])
            for name in (name for name in names if name not in found):
                work.quantize([name], None)
            if tuner is not None:
                work.tune(index, names, originals, found, tuner)
            blocks.advance(index)
    for name in rest:
        layer = work.linear(name)
        if blocks is not None:
            work.quantize([name], blocks.inputs_after(layer))
        else:
            work.quantize([name], inputs_of_whole_passes(model, {"": layer}, calibration).get(""))
    work.done()


@contextlib.contextmanager
def _without_cache(model: nn.Module) -> Iterator[None]:
    """Keep a decoder from remembering earlier passes, which would lengthen the later ones."""
    config: Any = getattr(model, "config", None)
    before = getattr(config, "use_cache", None)
    if before:
        config.use_cache = False
    try:
        yield
    finally:
        if before:
            config.use_cache = before


def quantizable(model: nn.Module, scope: Scope) -> list[str]:
    """Return the names of all layers in scope."""
    tables, stack, rest = _layers(model, scope)
    return [*tables, *(name for names in stack for name in names), *rest]


def _layers(model: nn.Module, scope: Scope) -> tuple[list[str], list[list[str]], list[str]]:
    """Return tables, linear layers per block, and linear layers elsewhere."""
    modules = dict(model.named_modules())
    found = [name for name, module in modules.items() if isinstance(module, nn.Embedding)] if scope.embeddings else []
    tables = [name for name in found if not name.endswith(BIASES)]
    linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    stack: list[list[str]] = []
    try:
        prefix, blocks = layer_stack(model)
        stack = [[name for name in linear if name.startswith(f"{prefix}.{i}.")] for i in range(len(blocks))]
    except UserError:
        pass  # a model without a stack of blocks: all its layers are calibrated in one pass
    inside = {name for names in stack for name in names}
    rest = [name for name in linear if name not in inside] if scope.head or not stack else []
    return tables, stack, rest
