"""What the torch runtimes share: an architecture from its config, filled from an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dqf.artifacts import PARTS, Artifact

if TYPE_CHECKING:
    from torch import nn


class TorchRuntime:
    """A transformers classifier on one device, in one precision.

    Args:
        artifact: what to load; quantized weights are expanded unless `packed`.
        threads: for CPU kernels.
        device: `cpu` or `cuda`.
        dtype: name of the torch dtype to compute in.
        packed: keep quantized weights packed in memory; 4-bit kernels multiply them where there are some.
    """

    def __init__(self, artifact: Artifact, threads: int, device: str, dtype: str, packed: bool = False) -> None:
        import torch

        torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._dtype = getattr(torch, dtype)
        self._inputs = list(artifact.manifest["inputs"])
        self._model = _build(artifact, self._dtype, packed, device == "cpu").to(self._device).eval()

    def logits(self, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return float32 (rows, outputs) for int64 (rows, length) inputs."""
        import torch

        with torch.inference_mode():
            tensors = {name: torch.from_numpy(batch[name]).to(self._device) for name in self._inputs}
            result: Any = self._model(**tensors).logits.float().cpu().numpy()
        return np.asarray(result, dtype=np.float32)


def _build(artifact: Artifact, dtype: Any, packed: bool, on_cpu: bool) -> nn.Module:
    import torch
    from transformers import AutoConfig

    from dqf.models.aliases import aliases
    from dqf.models.empty import empty_classifier

    config = AutoConfig.from_pretrained(artifact.folder)
    model = empty_classifier(config)
    if packed:
        from dqf.quant.packed_modules import pack_modules

        stored = artifact.tensors()
        pack_modules(model, artifact.packed, stored, kernels=on_cpu)
        inside = {f"{name}.{part}" for name in artifact.packed for part in PARTS}
        plain = {name: torch.from_numpy(tensor) for name, tensor in stored.items() if name not in inside}
        missing, unexpected = model.load_state_dict(plain, strict=False)
        held = (*PARTS, "scales_and_zeros", "inverse_input_scale")
        missing = [name for name in missing if not name.endswith(tuple(f".{part}" for part in held))]
    else:
        dense = {name: torch.from_numpy(tensor) for name, tensor in artifact.dense().items()}
        missing, unexpected = model.load_state_dict(dense, strict=False)
        further = aliases(model)  # filled by their first names
        missing = [name for name in missing if name not in further]
    if missing or unexpected:
        raise RuntimeError(f"weights do not fit the architecture: missing {missing[:3]}, unexpected {unexpected[:3]}")
    # Frequencies of rotary positions stay FP32, as in transformers: rounded, far positions are taken for others.
    exact = {name: one for name, one in model.named_buffers() if name.endswith("inv_freq")}
    model.to(dtype)
    for name, frequencies in exact.items():
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner)._buffers[leaf] = frequencies
    return model
