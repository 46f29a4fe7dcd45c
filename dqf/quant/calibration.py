"""What a quantizer is told about a layer's inputs, and how they are gathered block after block.

The hidden states of all calibration samples are kept between blocks, so that every block runs on what
the already quantized blocks before it really give, and no block runs more often than it must.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dqf.models.device import autocast
from dqf.quant.products import second_moments

MASSIVE = 4.0
"""A token is massive if its norm is this many times the median's of its batch."""


@dataclass
class LayerInputs:
    """Statistics of the inputs x of one layer, padding left out.

    Attributes:
        hessian: float32 (columns, columns), the sum of x x^T.
        largest: float32 (columns,), the largest |x| of each column.
        tokens: number of x.
        ordinary_squares: float32 (columns,), the sum of x^2 over tokens without massive activations.
        ordinary_tokens: number of those.
    """

    hessian: Tensor
    largest: Tensor
    tokens: int
    ordinary_squares: Tensor
    ordinary_tokens: int

    @property
    def power(self) -> Tensor:
        """Mean of x^2 per column, float32 (columns,)."""
        return self.hessian.diagonal() / max(1, self.tokens)

    @classmethod
    def of(cls, x: Tensor) -> LayerInputs:
        """Return the statistics of inputs (tokens, columns).

        Decoders give a few tokens, such as the first one, activations a hundred times those of the others (Sun et al.
        (2024), "Massive Activations in Large Language Models"); these would hide what happens to the others.
        """
        squares = x.float().square()
        sizes = squares.sum(1)
        ordinary = sizes <= MASSIVE**2 * sizes.median()
        return cls(
            second_moments(x, squares.sum(0)),
            squares.amax(0).sqrt(),
            x.shape[0],
            squares.T @ ordinary.float(),
            int(ordinary.sum()),
        )

    def add(self, x: Tensor) -> None:
        """Take in more inputs, float (tokens, columns)."""
        more = LayerInputs.of(x)
        self.hessian += more.hessian
        torch.maximum(self.largest, more.largest, out=self.largest)
        self.tokens += more.tokens
        self.ordinary_squares += more.ordinary_squares
        self.ordinary_tokens += more.ordinary_tokens


class Stop(Exception):
    """Ends a forward pass once what was looked for has been seen."""


@dataclass
class _Call:
    """How a block is called for one batch, besides its hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Blocks:
    """A model's transformer blocks, run one after the other on kept hidden states.

    Args:
        model: in evaluation mode; of its blocks only the first need be in memory here.
        stack: its blocks.
        calibration: batches of model inputs with `attention_mask`.

    Attributes:
        repeated: the model runs its blocks more than once, as ALBERT does: there are no hidden states to keep, every
            look at inputs is a whole forward pass, and blocks cannot be run on their own.
    """

    def __init__(self, model: nn.Module, stack: nn.ModuleList, calibration: Sequence[dict[str, Tensor]]) -> None:
        self._model = model
        self._stack = stack
        self._calibration = calibration
        self._masks = [batch["attention_mask"].bool() for batch in calibration]
        self._hidden: list[Tensor] = []
        self._calls: list[list[_Call]] = []
        self._rest: tuple[Any, ...] | None = self._outputs_besides_hidden()
        self.repeated = self._run_again()
        if self.repeated:
            return
        for batch in calibration:
            calls: list[_Call] = []
            # What stands behind the blocks, such as a projection on the vocabulary, is not needed for this.
            with self._passed_by(calls), contextlib.suppress(Stop):
                self._whole(batch)
            # Most models call every block alike.
            self._calls.append(calls if any(not _alike(calls[0], call) for call in calls[1:]) else calls[:1])

    def _outputs_besides_hidden(self) -> tuple[Any, ...] | None:
        """Return what a block returns after its hidden states; None if it returns these alone, not in a tuple."""
        found: list[Any] = []

        def note(_block: nn.Module, _args: Any, out: Any) -> None:
            found.append(out)
            raise Stop

        handle = self._stack[0].register_forward_hook(note)
        try:
            self._whole(self._first_row())
        except Stop:
            pass
        finally:
            handle.remove()
        return found[0][1:] if isinstance(found[0], tuple) else None

    def _run_again(self) -> bool:
        """Tell whether a forward pass runs the first block more than once."""
        calls = 0

        def note(_block: nn.Module, _args: Any) -> None:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise Stop

        with self._passed_by(), contextlib.suppress(Stop):
            handle = self._stack[0].register_forward_pre_hook(note)
            try:
                self._whole(self._first_row())
            finally:
                handle.remove()
        return calls > 1

    def _first_row(self) -> dict[str, Tensor]:
        return {name: tensor[:1] for name, tensor in self._calibration[0].items()}

    def _whole(self, batch: dict[str, Tensor]) -> None:
        _forward(self._model, batch)

    @contextlib.contextmanager
    def _passed_by(self, calls: list[_Call] | None = None, hidden: Tensor | None = None) -> Iterator[None]:
        """Let the blocks do nothing: each returns what it is given, the first one `hidden` if there is any.

        Args:
            calls: receives how the blocks are called, and `Stop` is raised at the last one; the first one's hidden
                states are kept.
            hidden: what comes out of the blocks.
        """

        def stand_in(index: int) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                given = args[0] if args else kwargs["hidden_states"]
                if calls is not None:
                    if index == 0:
                        self._hidden.append(given.detach())
                    rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
                    calls.append(_Call(args[1:], rest))
                    if len(calls) == len(self._stack):
                        raise Stop
                result = hidden if index == 0 and hidden is not None else given
                return result if self._rest is None else (result, *self._rest)

            return forward

        for index, block in enumerate(self._stack):
            block.__dict__["forward"] = stand_in(index)
        try:
            yield
        finally:
            for block in self._stack:
                del block.__dict__["forward"]

    def inputs_after(self, layer: nn.Linear) -> LayerInputs | None:
        """Return the inputs of a layer behind the blocks, once all have been run; None if it never runs."""
        if self.repeated:
            return inputs_of_whole_passes(self._model, {"": layer}, self._calibration).get("")
        sampler = InputSampler({"": layer}, stop=False)
        with sampler:
            for at, batch in enumerate(self._calibration):
                sampler.start_pass(self._masks[at])
                with self._passed_by(hidden=self._hidden[at]):
                    self._whole(batch)
        return sampler.found.get("")

    def inputs_of(self, index: int, layers: Mapping[str, nn.Linear]) -> dict[str, LayerInputs]:
        """Return the inputs of a block's layers in the order they run; those that read one input share one object."""
        if self.repeated:
            return inputs_of_whole_passes(self._model, layers, self._calibration)
        sampler = InputSampler(layers)
        with sampler:
            for at in range(len(self._hidden)):
                sampler.start_pass(self._masks[at])
                self._run(index, at)
        return sampler.found

    def advance(self, index: int) -> None:
        """Replace the kept hidden states by what a block makes of them."""
        for at in range(len(self._hidden)):
            self._hidden[at] = self._run(index, at)

    @property
    def hidden(self) -> list[Tensor]:
        """The kept hidden states, float (rows, length, width) per batch."""
        return list(self._hidden)

    @property
    def masks(self) -> list[Tensor]:
        """Which positions are real, bool (rows, length) per batch."""
        return self._masks

    def run(self, index: int, at: int, hidden: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return float32 outputs of a block for other hidden states of a batch.

        Args:
            index: of the block.
            at: number of the batch.
            hidden: float (rows, length, width).
            weights: weights to use in place of the block's, by layer name within it; gradients flow into them.
        """
        call = self._call(index, at)
        block = self._stack[index]
        with autocast(hidden.device):
            if weights is None:
                out = block(hidden, *call.args, **call.kwargs)
            else:
                args, kwargs = _plain(call.args), _plain(call.kwargs)
                own = dict((*block.named_parameters(), *block.named_buffers()))
                tensors = {**_plain(own), **{f"{name}.weight": weight for name, weight in weights.items()}}
                out = functional_call(block, tensors, (hidden, *args), kwargs)
        return (out[0] if isinstance(out, tuple) else out).float()

    def _call(self, index: int, at: int) -> _Call:
        calls = self._calls[at]
        return calls[index] if len(calls) > 1 else calls[0]

    def _run(self, index: int, at: int) -> Any:
        call = self._call(index, at)
        try:
            with autocast(self._hidden[at].device):
                out = self._stack[index](self._hidden[at], *call.args, **call.kwargs)
        except Stop:
            return None
        return (out[0] if isinstance(out, tuple) else out).float()


class InputSampler:
    """Gathers the inputs of layers while it is entered.

    Args:
        layers: by name. Those that read the very same tensor share one `LayerInputs`.
        stop: end the forward pass once all have run.
    """

    def __init__(self, layers: Mapping[str, nn.Linear], stop: bool = True) -> None:
        self.found: dict[str, LayerInputs] = {}
        self._mask = torch.empty(0)
        self._layers = dict(layers)
        self._stop = stop
        self._handles: list[Any] = []
        self._pass: dict[int, tuple[Tensor, LayerInputs]] = {}
        self._ran: set[str] = set()

    def start_pass(self, mask: Tensor) -> None:
        """Say that a batch begins, and which of its positions (rows, length) are real."""
        self._mask = mask
        self._pass.clear()
        self._ran.clear()

    def __enter__(self) -> InputSampler:
        for name, layer in self._layers.items():
            self._handles.append(layer.register_forward_pre_hook(self._hook(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        def hook(_layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            whole = args[0]
            shared = self._pass.get(id(whole))
            if shared is not None:
                self.found[name] = shared[1]
            else:
                x = (
                    whole[self._mask]
                    if whole.dim() == 3 and whole.shape[:2] == self._mask.shape
                    else whole.reshape(-1, whole.shape[-1])
                )
                with torch.autocast(x.device.type, enabled=False):
                    if name in self.found:
                        self.found[name].add(x)
                    else:
                        self.found[name] = LayerInputs.of(x)
                self._pass[id(whole)] = whole, self.found[name]
            self._ran.add(name)  # a layer may run more than once
            if self._stop and len(self._ran) == len(self._layers):
                raise Stop

        return hook


def inputs_of_whole_passes(
    model: nn.Module, layers: Mapping[str, nn.Linear], calibration: Sequence[dict[str, Tensor]]
) -> dict[str, LayerInputs]:
    """Return what layers of a model are given in whole forward passes, by name; those that never run are missing.

    Args:
        model: in evaluation mode.
        layers: of it, by any name; what a layer is given each time it runs is added up.
        calibration: batches of model inputs with `attention_mask`.
    """
    sampler = InputSampler(layers, stop=False)
    with sampler:
        for batch in calibration:
            sampler.start_pass(batch["attention_mask"].bool())
            _forward(model, batch)
    return sampler.found


def _forward(model: nn.Module, batch: dict[str, Tensor]) -> None:
    with autocast(batch["attention_mask"].device):
        model(**batch)


def _plain(value: Any) -> Any:
    """Return a value whose tensors may take part in a backward pass: those made in inference mode may not."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, tuple):
        return tuple(_plain(one) for one in value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value


def _alike(one: _Call, other: _Call) -> bool:
    if len(one.args) != len(other.args) or one.kwargs.keys() != other.kwargs.keys():
        return False
    pairs = [*zip(one.args, other.args, strict=True), *((one.kwargs[key], other.kwargs[key]) for key in one.kwargs)]
    return all(a is b or (not isinstance(a, Tensor | tuple) and a == b) for a, b in pairs)
