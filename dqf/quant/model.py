"""Quantize a whole model, block after block, and keep a receipt of what happened to every layer.

Blocks are calibrated in order on the model as quantized so far, so that each block's quantizer sees
the inputs it will really get (as GPTQ's authors do).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dqf.errors import UserError
from dqf.models.loading import layer_stack
from dqf.progress import Reporter
from dqf.quant.qparams import Granularity, QuantizedWeight
from dqf.registry import Entry
from dqf.registry import get as registered


@dataclass(frozen=True)
class LayerReceipt:
    """What was done to one layer.

    Attributes:
        name: of the weight.
        kind: `linear` or `embedding`.
        method: the quantizer whose result was kept.
        bits, group_size, symmetric: its granularity.
        params: weights quantized.
        calibration_tokens: input vectors the quantizer saw.
        error: relative squared error of what was kept.
        error_rtn: the same for round-to-nearest.
        error_of: `output` (of the layer, on its calibration inputs) or `weight` (where there are none).
        fallback: why the chosen quantizer's result was not kept; empty if it was.
    """

    name: str
    kind: str
    method: str
    bits: int
    group_size: int
    symmetric: bool
    params: int
    calibration_tokens: int
    error: float
    error_rtn: float
    error_of: str
    fallback: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


class _Stop(Exception):
    """Ends a forward pass once the block to be calibrated has seen its inputs."""


@torch.inference_mode()
def quantize_model(
    model: nn.Module,
    quantizer: Entry,
    options: Any,
    granularity: Granularity,
    calibration: Sequence[dict[str, Tensor]],
    reporter: Reporter,
    *,
    embeddings: bool = True,
) -> tuple[dict[str, QuantizedWeight], list[LayerReceipt]]:
    """Quantize every `nn.Linear` and `nn.Embedding` of a model in place.

    Args:
        model: FP32 model in evaluation mode; its weights become what the codes stand for.
        quantizer: registry entry of the method.
        options: the method's own config.
        granularity: bits, group size, symmetry.
        calibration: batches of model inputs with `attention_mask`.
        reporter: receives layers done.
        embeddings: quantize embedding tables too.

    Returns:
        Quantized weights by parameter name (a tied weight stands once), and one receipt a layer.

    Raises:
        UserError: no calibration data for a method that needs it, or a group size that does not fit.
    """
    needs_calibration = bool(quantizer.facts.get("needs_calibration"))
    if needs_calibration and not calibration:
        raise UserError(f"{quantizer.title} needs calibration samples: got none; raise `calibration_samples`.")
    groups = list(_groups(model, embeddings))
    total = sum(len(names) for names, _ in groups)
    weights: dict[str, QuantizedWeight] = {}
    receipts: list[LayerReceipt] = []
    seen: dict[int, str] = {}
    for names, stop_at in groups:
        modules = {name: model.get_submodule(name) for name in names}
        linear = {name: module for name, module in modules.items() if isinstance(module, nn.Linear)}
        hessians = _hessians(model, linear, calibration, stop_at) if calibration and linear else {}
        for name, module in modules.items():
            reporter.progress(len(receipts), total)
            weight = module.get_parameter("weight")
            if id(weight) in seen:
                continue
            seen[id(weight)] = name
            hessian, tokens = hessians.get(name, (None, 0))
            kept, receipt = _quantize_layer(name, module, quantizer, options, granularity, hessian, tokens)
            weight.copy_(kept.dequantize())
            weights[f"{name}.weight"] = kept
            receipts.append(receipt)
    reporter.progress(total, total)
    return weights, receipts


def _quantize_layer(
    name: str,
    module: nn.Module,
    quantizer: Entry,
    options: Any,
    granularity: Granularity,
    hessian: Tensor | None,
    tokens: int,
) -> tuple[QuantizedWeight, LayerReceipt]:
    """Quantize one layer by the chosen method, keep round-to-nearest where that is no worse."""
    weight = module.get_parameter("weight").float()
    rtn = registered("quantizer", "rtn")
    plain = rtn.target(weight, granularity, None, rtn.config())
    error_rtn = _relative_error(weight, plain, hessian)
    kept, method, error, fallback = plain, "rtn", error_rtn, ""
    if quantizer.name != "rtn":
        if quantizer.facts.get("needs_calibration") and hessian is None:
            embedding = isinstance(module, nn.Embedding)
            fallback = (
                "looked up, not multiplied: rounding to nearest is already the least-error choice"
                if embedding
                else "no calibration input reached this layer"
            )
        else:
            tried = quantizer.target(weight, granularity, hessian, options)
            tried_error = _relative_error(weight, tried, hessian)
            if tried_error <= error_rtn:
                kept, method, error = tried, quantizer.name, tried_error
            else:
                fallback = f"{quantizer.name} had the larger error ({tried_error:.3g})"
    return kept, LayerReceipt(
        f"{name}.weight",
        "embedding" if isinstance(module, nn.Embedding) else "linear",
        method,
        granularity.bits,
        granularity.group_size,
        granularity.symmetric,
        weight.numel(),
        tokens,
        error,
        error_rtn,
        "weight" if hessian is None else "output",
        fallback,
    )


def _relative_error(weight: Tensor, quantized: QuantizedWeight, hessian: Tensor | None) -> float:
    """Return ||(W - Q) X||^2 / ||W X||^2, or without inputs ||W - Q||^2 / ||W||^2."""
    difference = weight - quantized.dequantize()
    if hessian is None:
        return float(difference.square().sum() / weight.square().sum().clamp(min=1e-30))
    lost = (difference @ hessian * difference).sum()
    return float(lost / (weight @ hessian * weight).sum().clamp(min=1e-30))


def _groups(model: nn.Module, embeddings: bool) -> Iterator[tuple[list[str], nn.Module | None]]:
    """Yield (layer names, module whose call ends calibration) in the order of the forward pass."""
    everything = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or (embeddings and isinstance(module, nn.Embedding))
    ]
    tables = [name for name in everything if isinstance(model.get_submodule(name), nn.Embedding)]
    if tables:
        yield tables, None
    prefix, stack = layer_stack(model)
    inside: set[str] = set(tables)
    for i in range(len(stack)):
        names = [name for name in everything if name.startswith(f"{prefix}.{i}.")]
        inside.update(names)
        if names:
            yield names, stack[i + 1] if i + 1 < len(stack) else None
    rest = [name for name in everything if name not in inside]
    if rest:
        yield rest, None


def _hessians(
    model: nn.Module,
    linear: dict[str, nn.Linear],
    calibration: Sequence[dict[str, Tensor]],
    stop_at: nn.Module | None,
) -> dict[str, tuple[Tensor, int]]:
    """Return (sum of x x^T, number of x) over the inputs of each layer, padding left out."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = dict.fromkeys(linear, 0)
    mask: Tensor = torch.empty(0)

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0]
            x = x[mask] if x.shape[:2] == mask.shape else x.reshape(-1, x.shape[-1])
            x = x.float()
            if name in sums:
                sums[name].addmm_(x.T, x)
            else:
                sums[name] = x.T @ x
            counts[name] += x.shape[0]

        return hook

    def stop(_module: nn.Module, _args: Any, _kwargs: Any) -> None:
        raise _Stop

    handles = [module.register_forward_pre_hook(watch(name)) for name, module in linear.items()]
    if stop_at is not None:
        handles.append(stop_at.register_forward_pre_hook(stop, with_kwargs=True))
    try:
        for batch in calibration:
            mask = batch["attention_mask"].bool()
            try:
                model(**batch)
            except _Stop:
                continue
    finally:
        for handle in handles:
            handle.remove()
    return {name: (sums[name], counts[name]) for name in sums}
