"""Every registry entry keeps its kind's contract; a new method is tested by being there."""

import dataclasses

import pytest
import torch

from dqf import registry
from dqf.config import RunConfig
from dqf.errors import FieldError
from dqf.fields import setting_of
from dqf.models.states import Features
from dqf.pipeline import planned_stages
from dqf.quant.calibration import LayerInputs
from dqf.quant.qparams import Granularity


def ids(kind):
    return registry.names(kind)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in registry.KINDS for name in ids(kind)])
def test_entries_describe_themselves(kind, name):
    entry = registry.get(kind, name)
    assert entry.title
    assert entry.summary.endswith(".")
    assert callable(entry.target)
    for field in dataclasses.fields(entry.config):
        facts = setting_of(field)
        assert facts is not None, f"{field.name} must be declared with `setting`"
        assert facts.label
        assert facts.help
    errors: list[FieldError] = []
    assert entry.options({}, "", errors) == entry.config()
    entry.options({"no_such_setting": 1}, "options", errors)
    assert len(errors) == 1


@pytest.mark.parametrize("name", ids("quantizer"))
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group_size", [0, 16])
def test_quantizers_return_codes_that_fit(name, bits, symmetric, group_size):
    entry = registry.get("quantizer", name)
    if entry.facts.get("engine"):
        pytest.skip(f"{name} works on whole models: see tests/unit/test_engines.py")
    makes = entry.facts.get("bits")
    if makes and bits not in makes:
        pytest.skip(f"{name} makes {makes} bits")
    torch.manual_seed(0)
    weight, inputs = torch.randn(12, 32), torch.randn(64, 32)
    quantized = entry.target(weight, Granularity(bits, group_size, symmetric), LayerInputs.of(inputs), entry.config())
    kept = quantized.granularity
    if not makes:
        assert kept == Granularity(bits, group_size, symmetric)
    groups = 32 // kept.group_size if kept.group_size else 1
    assert quantized.codes.dtype == torch.uint8
    assert quantized.codes.shape == weight.shape
    assert int(quantized.codes.max()) < 2**bits
    assert quantized.scale.shape == (12, groups)
    assert quantized.scale.dtype == torch.float16
    assert (quantized.zero_point is None) == kept.symmetric
    error = (weight - quantized.dequantize()).norm() / weight.norm()
    assert error < {8: 0.02, 4: 0.25, 3: 0.5, 2: 1.0}[bits]
    again = entry.target(weight, Granularity(bits, group_size, symmetric), LayerInputs.of(inputs), entry.config())
    assert torch.equal(again.codes, quantized.codes)


def shown_to(entry, config, student):
    """Return the features that a distiller asks for with these settings, as keyword arguments."""
    needs = entry.facts.get("needs_features")
    if not needs or not needs(config):
        return {}
    plan = entry.facts["feature_plan"](config, 6, 3)
    assert plan.pairs
    assert all(0 <= teacher <= 6 and 0 <= layer <= 3 for teacher, layer in plan.pairs)
    torch.manual_seed(1)
    width = torch.randn(student.shape[1], 5)
    maps = {}
    if plan.attention:
        maps = {f"{who}_attention": torch.randn(8, 4, 4).softmax(-1) for who in ("student", "teacher")}
        maps["mask"] = torch.ones(8, 4, dtype=torch.long)
    return {
        "features": Features(
            student=tuple(student @ width for _ in plan.pairs),
            teacher=tuple(torch.randn(8, 5) for _ in plan.pairs),
            **maps,
        )
    }


@pytest.mark.parametrize("name", ids("distiller"))
@pytest.mark.parametrize("outputs", [1, 3])
def test_distillers_return_a_loss_that_learns(name, outputs):
    entry = registry.get("distiller", name)
    config = entry.config()
    torch.manual_seed(0)
    student = torch.randn(8, outputs, requires_grad=True)
    teacher = torch.randn(8, outputs)
    labels = torch.randn(8) if outputs == 1 else torch.randint(0, outputs, (8,))
    loss = entry.target(student, teacher, labels, config, **shown_to(entry, config, student))
    assert loss.shape == ()
    loss.backward()
    assert torch.isfinite(student.grad).all()
    with torch.no_grad():
        moved = student - 0.05 * student.grad
        better = entry.target(moved, teacher, labels, config, **shown_to(entry, config, moved))
    assert better < loss


@pytest.mark.parametrize("name", [name for name in ids("distiller") if registry.get("distiller", name).facts])
def test_distillers_that_need_features_say_so_before_training(name):
    entry = registry.get("distiller", name)
    assert set(entry.facts) == {"needs_features", "feature_plan"}
    config = RunConfig.from_dict({"distillation": {"method": name}})
    planned = [stage["id"] for stage in planned_stages(config)]
    assert planned.index("teacher-features") < planned.index("student-kd")
    assert "teacher-features" not in [stage["id"] for stage in planned_stages(RunConfig())]


METHOD = """
from dataclasses import dataclass
from dqf.fields import setting
from dqf.registry import register
from dqf.quant.qparams import choose_qparams, quantize

@dataclass(frozen=True)
class DummyConfig:
    strength: float = setting(0.5, "Strength", "How strong.", minimum=0, maximum=1, flag="--dummy-strength")

@register("quantizer", "dummy", title="Dummy", summary="A method in one file.", config=DummyConfig)
def quantize_weight(weight, granularity, inputs, config):
    return quantize(weight, choose_qparams(weight, granularity), granularity)
"""


@pytest.fixture
def dummy_method(tmp_path, monkeypatch):
    """Add a quantizer as one file in a folder of its own, and take it away again."""
    import dqf.methods.quantizers as package

    (tmp_path / "dummy.py").write_text(METHOD)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry.reload()
    yield "dummy"
    registry._entries.pop(("quantizer", "dummy"), None)
    registry.reload()


def test_a_method_in_one_file_reaches_config_and_command_line(dummy_method):
    from dqf.cli import build_parser, config_from
    from dqf.config import RunConfig

    config = RunConfig.from_dict({"quantization": {"quantizer": dummy_method, "options": {"strength": 0.25}}})
    assert config.quantization.options == {"strength": 0.25}
    arguments = build_parser().parse_args(["run", "--quantizer", dummy_method, "--dummy-strength", "0.75"])
    assert config_from(arguments).quantization.options == {"strength": 0.75}
    with pytest.raises(Exception, match="at most 1"):
        RunConfig.from_dict({"quantization": {"quantizer": dummy_method, "options": {"strength": 2}}})
