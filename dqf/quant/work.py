"""Quantize layer by layer: what the quantizer makes of a layer, what is kept, and the receipt for it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dqf.errors import UserError
from dqf.models.streaming import StreamedModel
from dqf.models.suitable import refuse_unsuitable
from dqf.progress import Reporter
from dqf.quant.block_tuning import BlockTuner
from dqf.quant.calibration import LayerInputs
from dqf.quant.qparams import Granularity, QuantizedWeight
from dqf.quant.receipts import LayerReceipt, signal, squared_error
from dqf.quant.smoothing import int8_scale_if_fit
from dqf.registry import Entry
from dqf.registry import get as registered


@dataclass(frozen=True)
class Method:
    """A quantizer with its settings.

    Attributes:
        entry: registry entry.
        options: its own config.
        granularity: bits, group size, symmetry where `bits_of` says nothing else.
        bits_of: bits of single layers by name (mixed precision).
        block_steps: steps of tuning each block's codes and scales together afterwards; 0 is none.
    """

    entry: Entry
    options: Any
    granularity: Granularity
    bits_of: Mapping[str, int] | None = None
    block_steps: int = 0

    def granularity_of(self, name: str) -> Granularity:
        """Return how finely a layer is quantized."""
        bits = (self.bits_of or {}).get(name, self.granularity.bits)
        return replace(self.granularity, bits=bits)


def local_name(name: str, index: int) -> str:
    """Return a layer's name within its block: `model.layers.3.mlp.up_proj` -> `mlp.up_proj`."""
    return name.partition(f".{index}.")[2]


@dataclass(frozen=True)
class _Tried:
    """A layer as some method quantized it; `final` if it is kept whatever its error."""

    method: str
    weight: QuantizedWeight
    final: bool = False


class Work:
    """The weights and receipts gathered so far."""

    def __init__(
        self, model: nn.Module, method: Method, reporter: Reporter, source: StreamedModel | None = None
    ) -> None:
        self.weights: dict[str, QuantizedWeight] = {}
        self.receipts: list[LayerReceipt] = []
        self._model = model
        self._method = method
        self._reporter = reporter
        self._source = source
        self._tied: set[str] = set()
        self._total = 0
        self._by_engine: dict[str, QuantizedWeight] = {}

    @property
    def block_steps(self) -> int:
        """Steps of tuning each block."""
        return self._method.block_steps

    def block(self, index: int) -> contextlib.AbstractContextManager[None]:
        """Have a block in memory, if it is not there anyway."""
        return contextlib.nullcontext() if self._source is None else self._source.block(index)

    def load_blocks(self) -> None:
        """Have all blocks in memory from now on."""
        if self._source is not None:
            self._source.load()

    def linear(self, name: str) -> nn.Linear:
        """Return a linear layer by name."""
        module = self._model.get_submodule(name)
        assert isinstance(module, nn.Linear)  # noqa: S101 - for the type checker
        return module

    def check(self, names: Sequence[str]) -> None:
        """Refuse what cannot be quantized, before anything is."""
        self._total = len(names)
        refuse_unsuitable(self._model)
        seen: set[int] = set()
        for name in names:
            weight = self._model.get_submodule(name).get_parameter("weight")
            if id(weight) in seen:
                self._tied.add(name)
                continue
            seen.add(id(weight))
            self._method.granularity_of(name).width(weight.shape[1])
            if weight.is_meta and self._source is not None:
                weight = self._source.tensor(f"{name}.weight")  # type: ignore[assignment]
            if not torch.isfinite(weight).all():
                raise UserError(
                    f"weights must be finite: {name} holds NaN or infinity; the model to quantize is broken, "
                    "train it again."
                )

    def call_engine(self, calibration: Sequence[dict[str, Tensor]]) -> None:
        """Let a quantizer that works on whole models do its part; put what it scaled in place."""
        entry = self._method.entry
        if not entry.facts.get("engine"):
            return
        self._reporter.message(f"{entry.title} quantizes the blocks; it does not tell how far it is.")
        made = entry.target(self._model, self._method.granularity, calibration, self._method.options)
        parameters = dict(self._model.named_parameters())
        for name, tensor in made.replaced.items():
            parameters[name].data.copy_(tensor)
        self._by_engine = made.weights

    def tune(
        self,
        index: int,
        names: Sequence[str],
        originals: Mapping[str, Tensor],
        inputs: Mapping[str, LayerInputs],
        tuner: BlockTuner,
    ) -> None:
        """Tune the layers of a block together and keep what that made of them.

        Args:
            index: of the block.
            names: of its linear layers.
            originals: their weights before they were quantized.
            inputs: what they were calibrated on.
            tuner: has looked at the block before.
        """
        inside = {name: local_name(name, index) for name in names if f"{name}.weight" in self.weights}
        weights = {local: self.weights[f"{name}.weight"] for name, local in inside.items()}
        tuned = tuner.tune(index, weights, {local: originals[name] for name, local in inside.items()})
        for name, local in inside.items():
            self.weights[f"{name}.weight"] = tuned.weights[local]
            self.linear(name).weight.copy_(tuned.weights[local].dequantize())
        for at, receipt in enumerate(self.receipts):
            name = receipt.name.removesuffix(".weight")
            if name not in inside:
                continue
            hessian = inputs[name].hessian if name in inputs else None
            error = squared_error(originals[name], tuned.weights[inside[name]], hessian)
            self.receipts[at] = replace(
                receipt,
                error=error / signal(originals[name], hessian),
                block_error_before=tuned.before,
                block_error=tuned.after,
            )

    def done(self) -> None:
        """Report the end."""
        self._reporter.progress(self._total, self._total)

    def quantize(self, names: Sequence[str], inputs: LayerInputs | None) -> None:
        """Quantize layers that read the same input; those of one granularity together."""
        for granularity in dict.fromkeys(self._method.granularity_of(name) for name in names):
            self._reporter.progress(len(self.receipts), self._total)
            fresh = [name for name in names if self._method.granularity_of(name) == granularity]
            fresh = [name for name in fresh if name not in self._tied]
            if fresh:
                self._quantize(fresh, granularity, inputs)

    def _quantize(self, names: Sequence[str], granularity: Granularity, inputs: LayerInputs | None) -> None:
        modules = [self._model.get_submodule(name) for name in names]
        weights = [module.get_parameter("weight").float() for module in modules]
        all_tried = self._try(names, weights, granularity, inputs)
        int8_scale = int8_scale_if_fit(torch.cat(weights), inputs) if inputs is not None else None
        for name, module, weight, tried in zip(names, modules, weights, all_tried, strict=True):
            kept, receipt = self._choose(name, module, weight, granularity, inputs, tried)
            module.get_parameter("weight").copy_(kept.dequantize())
            if kept.int8_scale is None:
                kept = replace(kept, int8_scale=int8_scale)
            self.weights[f"{name}.weight"] = kept
            self.receipts.append(receipt)

    def _try(
        self, names: Sequence[str], weights: Sequence[Tensor], granularity: Granularity, inputs: LayerInputs | None
    ) -> list[_Tried | None]:
        """Return what the quantizer, or its stand-in, makes of layers that share an input; None for plain rounding."""
        entry, options = self._method.entry, self._method.options
        if entry.facts.get("engine"):
            if all(f"{name}.weight" in self._by_engine for name in names):
                return [_Tried(entry.name, self._by_engine[f"{name}.weight"], final=True) for name in names]
            entry = registered("quantizer", "gptq")
            options = entry.config()
        if entry.name == "rtn":
            return [None] * len(names)
        if entry.facts.get("needs_calibration") and inputs is None:
            entry = registered("quantizer", "mse")
            options = entry.config()
        whole = entry.target(torch.cat(list(weights)), granularity, inputs, options)
        ends = list(itertools.accumulate(len(weight) for weight in weights))
        # Where a row shares one scale by the method's nature, rounding in groups has the smaller error by construction.
        final = bool(entry.facts.get("per_row"))
        return [_Tried(entry.name, whole.rows(end - len(w), end), final) for w, end in zip(weights, ends, strict=True)]

    def _choose(
        self,
        name: str,
        module: nn.Module,
        weight: Tensor,
        granularity: Granularity,
        inputs: LayerInputs | None,
        tried: _Tried | None,
    ) -> tuple[QuantizedWeight, LayerReceipt]:
        """Keep what was made of a layer, or round-to-nearest where that is better; what is final is always kept."""
        hessian = None if inputs is None else inputs.hessian
        rtn = registered("quantizer", "rtn")
        plain = rtn.target(weight, granularity, None, rtn.config())
        whole = signal(weight, hessian)
        error_rtn = squared_error(weight, plain, hessian) / whole
        kept, method, error = plain, "rtn", error_rtn
        reasons = []
        if tried is not None:
            if tried.method != self._method.entry.name:
                reasons.append(self._why_another(module, inputs))
            tried_error = squared_error(weight, tried.weight, hessian) / whole
            if tried_error <= error_rtn or tried.final:
                kept, method, error = tried.weight, tried.method, tried_error
            else:
                reasons.append(f"{tried.method} had the larger error ({tried_error:.3g})")
        return kept, LayerReceipt(
            f"{name}.weight",
            "embedding" if isinstance(module, nn.Embedding) else "linear",
            method,
            kept.granularity.bits,
            kept.granularity.group_size,
            kept.granularity.symmetric,
            weight.numel(),
            0 if inputs is None else inputs.tokens,
            error,
            error_rtn,
            "weight" if hessian is None else "output",
            "; ".join(reasons),
            scale_bits=kept.scale_bits,
        )

    def _why_another(self, module: nn.Module, inputs: LayerInputs | None) -> str:
        """Return why another quantizer than the chosen one worked on a layer."""
        if isinstance(module, nn.Embedding):
            return "looked up, not multiplied: there is no input to calibrate on"
        if inputs is None:
            return "no calibration input reached this layer"
        return f"{self._method.entry.name} quantizes the layers of blocks only"
