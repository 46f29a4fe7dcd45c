"""What does INT8 compute cost a variant's logits: rounding the inputs, rounding the weights again, or both?

python benchmarks/int8_error.py RUN_DIR VARIANT [VARIANT ...]

Emulated in torch on the run's first 128 scored rows, with the artifact's own `int8_scale` vectors, as `openvino-w8a8`
computes where no sum overflows; then with one input scale per layer and the weights as they are, which is what codes
that expand exactly to INT8 would need (docs/decisions/0025). Prints relative L2 distances to the artifact in FP32.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from dqf.artifacts import Artifact, open_artifact
from dqf.config import RunConfig
from dqf.data.encode import Encoded, Encoder
from dqf.data.load import load_task
from dqf.progress import SilentReporter
from dqf.settings import load_settings
from dqf.training import predict

LEVELS = 127
ROWS = 128


def main() -> None:
    """Print one line of distances per variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("variants", nargs="+")
    arguments = parser.parse_args()
    result = json.loads((arguments.run / "result.json").read_text(encoding="utf-8"))
    config = RunConfig.from_dict(json.loads((arguments.run / "config.json").read_text(encoding="utf-8")))
    examples = load_task(config, load_settings()).evaluation.take(list(range(ROWS)))
    print(f"{'variant':26} {'inputs':>8} {'weights':>8} {'both':>8} {'one input scale, exact weights':>32}")
    for variant in result["variants"]:
        if variant["variant_id"] in arguments.variants:
            artifact = open_artifact(arguments.run / variant["artifact"])
            encoded = Encoder(artifact.folder / "tokenizer.json", artifact.manifest["max_length"])(examples)
            found = distances(artifact, encoded)
            print(f"{variant['variant_id']:26} {found[0]:8.4f} {found[1]:8.4f} {found[2]:8.4f} {found[3]:32.4f}")


def distances(artifact: Artifact, encoded: Encoded) -> tuple[float, float, float, float]:
    """Return the distances in the order of the table's columns."""
    model = dense_model(artifact)
    stored = artifact.tensors()
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and f"{name}.weight.int8_scale" in stored
    }
    scales = {name: torch.from_numpy(stored[f"{name}.weight.int8_scale"]).float() for name in layers}
    exact = {name: module.weight.data for name, module in layers.items()}
    rounded = {name: round_rows(exact[name] * scale) / scale for name, scale in scales.items()}
    largest = {name: torch.zeros(()) for name in layers}

    def logits(weights: dict[str, Tensor], inputs: Callable[[str, Tensor], Tensor]) -> Tensor:
        hooks = []
        for name, module in layers.items():
            module.weight.data = weights[name]
            hooks.append(module.register_forward_pre_hook(lambda _, given, name=name: (inputs(name, given[0]),)))
        made = predict(model, encoded, artifact.manifest["pad_id"], torch.device("cpu"), SilentReporter(), exact=True)
        for hook in hooks:
            hook.remove()
        return made

    def watched(name: str, x: Tensor) -> Tensor:
        largest[name] = torch.maximum(largest[name], x.abs().max())
        return x

    def smoothed(name: str, x: Tensor) -> Tensor:
        return round_inputs(x, scales[name])

    wanted = logits(exact, watched)
    made = (
        logits(exact, smoothed),
        logits(rounded, lambda name, x: x),
        logits(rounded, smoothed),
        logits(exact, lambda name, x: round_inputs(x, largest[name])),
    )
    inputs, weights, both, single = (float((one - wanted).norm() / wanted.norm()) for one in made)
    return inputs, weights, both, single


def round_inputs(x: Tensor, scale: Tensor) -> Tensor:
    """Return inputs as 8 bits hold them once divided by a scale, times that scale."""
    return torch.clamp(torch.round(x / scale * LEVELS), -LEVELS - 1, LEVELS) / LEVELS * scale


def round_rows(weight: Tensor) -> Tensor:
    """Return a weight as INT8 with one step per row holds it."""
    step = weight.abs().amax(1, keepdim=True) / LEVELS
    return torch.round(weight / step) * step


def dense_model(artifact: Artifact) -> PreTrainedModel:
    """Return an artifact's classifier in FP32, its codes expanded."""
    config = AutoConfig.from_pretrained(artifact.folder)
    model = AutoModelForSequenceClassification.from_config(config).float().eval()
    weights = {name: torch.from_numpy(weight) for name, weight in artifact.dense().items()}
    model.load_state_dict(weights, strict=False)
    return model


if __name__ == "__main__":
    main()
