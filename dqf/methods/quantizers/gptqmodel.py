"""GPTQModel as an engine: its GPTQ on the decoder's blocks, its codes packed by us.

Reference: https://github.com/ModelCloud/GPTQModel, version 7.6.
Deviation: GPTQModel silently loads a classifier's causal relative and drops the head; it is given the
backbone only here, and the head stays with us.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dqf.errors import UserError
from dqf.quant.engines import DECODERS, EngineResult, refuse, token_blocks
from dqf.registry import NoOptions, get, register

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from dqf.quant.qparams import Granularity, QuantizedWeight


@register(
    "quantizer",
    "gptqmodel",
    title="GPTQModel",
    summary="The GPTQModel library's GPTQ, on the decoders it knows; to compare with `gptq`.",
    needs_calibration=True,
    engine="gptqmodel",
    architectures=DECODERS,
    instead="gptq",
)
def quantize_blocks(
    model: PreTrainedModel, granularity: Granularity, calibration: Sequence[dict[str, Tensor]], options: NoOptions
) -> EngineResult:
    """Quantize the blocks of a decoder by GPTQModel.

    Args:
        model: FP32, in evaluation mode; left as it is.
        granularity: bits, group size and symmetry.
        calibration: batches of model inputs.
        options: none.

    Returns:
        Codes of all linear layers in blocks.

    Raises:
        UserError: GPTQModel does not know this model, is not installed, or failed.
    """
    from safetensors.torch import load_file

    message = refuse(get("quantizer", "gptqmodel"), model.config.model_type, granularity.group_size)
    if message:
        raise UserError(message)
    rows = token_blocks(calibration)
    with tempfile.TemporaryDirectory(prefix="dqf-gptqmodel-") as scratch:
        folder = Path(scratch)
        _write_backbone(model, folder / "model")
        job = {
            "model": str(folder / "model"),
            "rows": rows,
            "bits": granularity.bits,
            "group_size": granularity.group_size,
            "symmetric": granularity.symmetric,
            "device": str(model.device),
            "out": str(folder),
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-m", "dqf.methods.quantizers._gptqmodel_job", str(folder / "job.json")]
        with (folder / "log").open("w") as log:
            failed = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        if failed:
            last = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise UserError(f"GPTQModel must quantize the model: it failed ({' '.join(last)}); use `gptq`.")
        tensors = load_file(folder / "layers.safetensors")
    names = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    return EngineResult(
        {f"{name}.weight": _codes(tensors[f"{name}.weight"], tensors[f"{name}.scale"], granularity) for name in names}
    )


def _write_backbone(model: PreTrainedModel, folder: Path) -> None:
    """Write the classifier's backbone as the causal model of its kind, FP16, the head tied to the embeddings."""
    import copy

    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = True
    causal = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    getattr(causal, causal.base_model_prefix).load_state_dict(model.base_model.state_dict())
    causal.tie_weights()
    causal.half().save_pretrained(folder)
    # GPTQModel wants a tokenizer beside the weights; it never uses it, for it is given tokens.
    unused = Tokenizer(models.WordLevel({"unused": 0}))
    PreTrainedTokenizerFast(tokenizer_object=unused).save_pretrained(folder)


def _codes(weight: Tensor, scale: Tensor, granularity: Granularity) -> QuantizedWeight:
    """Return codes that stand for a weight already on a grid of steps.

    Any zero point that brings all codes of a group into range stands for the same weights.

    Args:
        weight: float32 (rows, columns), whole multiples of its group's scale.
        scale: float16 (rows, groups).
        granularity: bits, group size and symmetry.
    """
    import torch

    from dqf.quant.qparams import QuantizedWeight

    steps = (weight.view(*scale.shape, -1) / scale.float().unsqueeze(-1)).round()
    if granularity.symmetric:
        codes, zero_point = steps + granularity.middle, None
    else:
        zero_point = (-steps.amin(-1)).clamp(0, granularity.levels)
        codes = steps + zero_point.unsqueeze(-1)
    codes = codes.clamp(0, granularity.levels).to(torch.uint8).view(weight.shape)
    return QuantizedWeight(codes, scale, None if zero_point is None else zero_point.to(torch.uint8), granularity)
