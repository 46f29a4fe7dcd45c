"""What the ONNX Runtime runtimes share: build an artifact's graph as the ONNX exporters do, and infer."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dqf.artifacts import Artifact

NEEDS = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")
FILE = "model.onnx"


class ONNXRuntime:
    """An artifact as an ONNX graph in ONNX Runtime, on the CPU.

    The graph is traced when the artifact is loaded, which takes seconds and needs torch once; the exporters
    `onnx-4bit` and `onnx-8bit` write the same graph to a file, which needs ONNX Runtime alone.

    Args:
        artifact: what to load.
        threads: for inference.
        accuracy_level: of `MatMulNBits`: 0 computes in FP32, 4 rounds inputs to 8 bits.
    """

    def __init__(self, artifact: Artifact, threads: int, accuracy_level: int = 0) -> None:
        import onnx
        import onnxruntime

        from dqf.methods.exporters._onnx import build_onnx
        from dqf.methods.exporters._weights import read_weights

        model = build_onnx(artifact, read_weights(artifact), accuracy_level)
        self._inputs = list(artifact.manifest["inputs"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads take the processor from whatever is timed in turns with them: OpenVINO's median beside it
        # rose from 2.3 to 6.9 ms, ONNX Runtime's own from 4.2 to 8.9 (one process, 100 passes, MiniLM-L6 at 4 bits).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with tempfile.TemporaryDirectory() as folder:
            # Weights beside the graph: a protocol buffer cannot hold 2 GB.
            path = Path(folder) / FILE
            onnx.save_model(model, str(path), save_as_external_data=True, location=f"{FILE}.data")
            del model
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def logits(self, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return float32 (rows, outputs) for int64 (rows, length) inputs."""
        result = self._session.run(None, {name: batch[name] for name in self._inputs})[0]
        return np.asarray(result, dtype=np.float32)
