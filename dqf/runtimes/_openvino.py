"""What the OpenVINO runtimes share: compile an artifact's graph, for any length or for one, and infer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqf.artifacts import Artifact
from dqf.runtimes._lengths import padded_length

IDS, MASK = "input_ids", "attention_mask"


class OpenVINORuntime:
    """An artifact's graph compiled for the CPU; needs neither torch nor transformers.

    One graph takes any number of rows of any length. `fix_lengths` adds graphs for single rows of one length each:
    they are a fifth to a quarter faster, and each takes memory of its own (decision 31).

    Args:
        artifact: must have a graph.
        threads: for inference.
        properties: OpenVINO properties that decide the precision of computing.
        int8: expand packed layers to INT8 arithmetic where the artifact holds the scales for it.
        dense: expand packed layers to FP32.
    """

    def __init__(
        self, artifact: Artifact, threads: int, properties: dict[str, str], *, int8: bool = False, dense: bool = False
    ) -> None:
        self._artifact, self._int8, self._dense = artifact, int8, dense
        self._properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            **properties,
        }
        self._keep: list[Any] = []
        self._inputs = list(artifact.manifest["inputs"])
        self._longest = int(artifact.manifest["max_length"])
        self._graph = self._read()
        self._request = self._compile(self._graph)
        self._lengths: frozenset[int] = frozenset()
        self._fixed: dict[int, _FixedLength] = {}

    def fix_lengths(self, lengths: Collection[int]) -> None:
        """Let single rows that are padded to one of these lengths (`padded_length`) have a graph for that length.

        A graph is compiled when its first row comes, and kept; lengths not named again are served by the graph for any
        length. Results differ from its by rounding alone.

        Raises:
            ValueError: the network has no attention mask, so that padding would change its results.
        """
        if lengths and MASK not in self._inputs:
            raise ValueError(f"a graph of fixed length needs the input {MASK}: this network has {self._inputs}")
        self._lengths = frozenset(lengths)

    def logits(self, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return float32 (rows, outputs) for int64 (rows, length) inputs."""
        inputs, request = [batch[name] for name in self._inputs], self._request
        rows, tokens = inputs[0].shape
        if rows == 1 and self._lengths and (length := padded_length(tokens, self._longest)) in self._lengths:
            fixed = self._fixed.get(length) or self._fix(length)
            inputs, request = fixed.pad(inputs), fixed.request
        # Sharing spares copies and checks: 24 us of a pass that takes a small student 1000. The result is copied here.
        result: Any = request.infer(inputs, share_inputs=True, share_outputs=True)[0]
        return np.array(result, dtype=np.float32)

    def _fix(self, length: int) -> _FixedLength:
        """Compile the graph for single rows of one length."""
        self._graph.reshape({port.get_any_name(): [1, length] for port in self._graph.inputs})
        pad_id = int(self._artifact.manifest["pad_id"])
        blanks: list[NDArray[np.int64]]
        blanks = [np.full((1, length), pad_id if name == IDS else 0, dtype=np.int64) for name in self._inputs]
        fixed = _FixedLength(self._compile(self._graph), [blank.copy() for blank in blanks], blanks)
        self._fixed[length] = fixed
        return fixed

    def _read(self) -> Any:
        """Return the artifact's graph for any length, its weights in the form that this runtime multiplies."""
        from dqf.runtimes._graph import read_graph

        graph = read_graph(self._artifact)
        if self._int8:
            from dqf.runtimes._int8 import to_int8

            to_int8(graph, self._artifact, self._keep)
        if self._dense:
            from dqf.runtimes._expand import to_dense

            to_dense(graph, self._artifact, self._keep)
        return graph

    def _compile(self, graph: Any) -> Any:
        from dqf.runtimes._ov import ov

        return ov.Core().compile_model(graph, "CPU", self._properties).create_infer_request()


@dataclass(frozen=True)
class _FixedLength:
    """A graph for single rows of one length.

    Attributes:
        request: infers.
        rooms: its inputs, int64 (1, length) each, written anew for each row.
        blanks: what they hold where a row does not.
    """

    request: Any
    rooms: list[NDArray[np.int64]]
    blanks: list[NDArray[np.int64]]

    def pad(self, inputs: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Return one row's inputs, padded to the length."""
        for room, blank, given in zip(self.rooms, self.blanks, inputs, strict=True):
            tokens = given.shape[1]
            room[:, :tokens] = given
            room[:, tokens:] = blank[:, tokens:]
        return self.rooms
