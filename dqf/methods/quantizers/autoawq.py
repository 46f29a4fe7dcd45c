"""AutoAWQ as an engine: its scale and clipping search on the decoder's blocks, its codes packed by us.

Reference: https://github.com/casper-hansen/AutoAWQ, version 0.2.9 (archived).
Deviations: AutoAWQ's own packing knows 4 bits only, ours takes any; the classification head stays. On a CPU
its scale search keeps aliases of the live weights and multiplies them in place, which corrupts them silently
(`v.cpu()` of a CPU tensor is no copy): the search is given clones here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dqf.quant.engines import DECODERS, EngineResult, refuse, token_blocks
from dqf.registry import NoOptions, get, register

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from dqf.quant.qparams import Granularity, QuantizedWeight


@register(
    "quantizer",
    "autoawq",
    title="AutoAWQ",
    summary="The AutoAWQ library's own search, on the decoders it knows; to compare with `awq`.",
    needs_calibration=True,
    engine="awq",
    seconds_per_param=1e-5,  # 1 023 s for SmolLM2-135M on two cores (docs/benchmarks.md)
    architectures=DECODERS,
    instead="awq",
)
def quantize_blocks(
    model: PreTrainedModel, granularity: Granularity, calibration: Sequence[dict[str, Tensor]], options: NoOptions
) -> EngineResult:
    """Quantize the blocks of a decoder by AutoAWQ.

    Args:
        model: FP32, in evaluation mode; left in an undefined state, `EngineResult.replaced` puts it right.
        granularity: bits, group size and symmetry.
        calibration: batches of model inputs.
        options: none.

    Returns:
        Codes of all linear layers in blocks; norms and weights as scaled before rounding.

    Raises:
        UserError: AutoAWQ does not know this model.
    """
    import torch
    from awq.models.auto import AWQ_CAUSAL_LM_MODEL_MAP

    from dqf.errors import UserError

    message = refuse(get("quantizer", "autoawq"), model.config.model_type, granularity.group_size)
    if message:
        raise UserError(message)
    # AutoAWQ's description of the architecture needs no instance, but its `model_type`.
    described = AWQ_CAUSAL_LM_MODEL_MAP[model.config.model_type]
    known: Any = type(described.__name__, (described,), {"model_type": model.config.model_type})
    rows = token_blocks(calibration)
    before = model.state_dict()
    # AutoAWQ asks this of a causal model; a classifier has none of its own.
    model.__dict__["prepare_inputs_for_generation"] = lambda ids, **kwargs: {"input_ids": ids, **kwargs}
    prefixes = {id(module): name for name, module in model.named_modules()}
    try:
        with torch.inference_mode(False), torch.no_grad():
            quantizer = _cpu_safe()(
                known,
                model,
                None,
                granularity.bits,
                granularity.group_size,
                not granularity.symmetric,
                "gemm",
                rows,
                "train",
                "text",
                True,
                modules_to_not_convert=[],
                max_calib_samples=len(rows),
                max_calib_seq_len=len(rows[0]),
            )
            quantizer.granularity, quantizer.prefixes = granularity, prefixes
            quantizer.quantize()
    finally:
        del model.__dict__["prepare_inputs_for_generation"]
    inside = tuple(f"{prefixes[id(block)]}." for block in known.get_model_layers(model))
    changed = {n: p.detach().clone() for n, p in model.state_dict().items() if n.startswith(inside) and n in before}
    return EngineResult(quantizer.made, changed | quantizer.scaled)


def _cpu_safe() -> type[Any]:
    """Return AutoAWQ's quantizer with the search made safe on a CPU and codes kept instead of packed."""
    import torch
    from awq.quantize.quantizer import AwqQuantizer

    from dqf.quant.qparams import QuantizedWeight

    class CpuSafeQuantizer(AwqQuantizer):
        """AutoAWQ's quantizer; `made` and `scaled` receive codes, and weights as they were before rounding."""

        granularity: Granularity
        prefixes: dict[int, str]

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.made: dict[str, QuantizedWeight] = {}
            self.scaled: dict[str, Tensor] = {}
            super().__init__(*args, **kwargs)

        def _compute_best_scale(self, x: Any, w_mean: Any, x_mean: Any, inspected: Any, *args: Any, **kw: Any) -> Any:
            original = inspected.state_dict
            inspected.state_dict = lambda *a, **k: {n: v.clone() for n, v in original(*a, **k).items()}
            try:
                return super()._compute_best_scale(x, w_mean, x_mean, inspected, *args, **kw)
            finally:
                del inspected.state_dict

        def _search_best_clip(self, layer: Any, named_linears: dict[str, Any], input_feat: Any) -> Any:
            for linear in named_linears.values():
                self.scaled[f"{self.prefixes[id(linear)]}.weight"] = linear.weight.detach().clone()
            return super()._search_best_clip(layer, named_linears, input_feat)

        def _apply_quant(self, module: Any, named_linears: dict[str, Any]) -> None:
            for linear in named_linears.values():
                name, weight = f"{self.prefixes[id(linear)]}.weight", linear.weight.detach().float()
                values, scales, zeros = self.pseudo_quantize_tensor(weight)
                grouped = values.view(*scales.shape, -1) / scales.unsqueeze(-1)
                middle = self.granularity.middle if zeros is None else zeros.unsqueeze(-1)
                codes = (grouped + middle).round().clamp(0, self.granularity.levels).to(torch.uint8)
                self.made[name] = QuantizedWeight(
                    codes.view(weight.shape),
                    scales.half(),
                    None if zeros is None else zeros.to(torch.uint8),
                    self.granularity,
                )
                linear.weight.data = values

    return CpuSafeQuantizer
