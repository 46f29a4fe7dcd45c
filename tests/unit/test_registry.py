import dataclasses
import textwrap

import pytest

from dqf import flags, registry
from dqf.config import RunConfig
from dqf.errors import UserError
from dqf.fields import setting


@pytest.fixture
def _clean_registry(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@dataclasses.dataclass(frozen=True)
class DummyConfig:
    strength: float = setting(1.0, "Strength", "How strong.", minimum=0, flag="--dummy-strength")


def test_unknown_method_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean `gptq`"):
        registry.get("quantizer", "gptqq")


@pytest.mark.usefixtures("_clean_registry")
def test_registering_refuses_unknown_kinds_and_configs():
    with pytest.raises(ValueError, match="kind"):
        registry.register("quantiser", "x", title="X", summary="x")
    with pytest.raises(ValueError, match="dataclass"):
        registry.register("quantizer", "x", title="X", summary="x", config=int)


@pytest.mark.usefixtures("_clean_registry")
def test_name_cannot_be_taken_twice():
    def other():
        pass

    other.__module__ = "somewhere.else"
    registry.entries("quantizer")
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("quantizer", "gptq", title="X", summary="x")(other)


@pytest.mark.usefixtures("_clean_registry")
def test_new_method_gets_flag_and_config_by_being_registered():
    registry.entries("quantizer")

    @registry.register("quantizer", "dummy", title="Dummy", summary="Does nothing.", config=DummyConfig)
    def quantize_weight():
        pass

    assert "--dummy-strength" in {flag.name for flag in flags.all_flags()}
    config = RunConfig.from_dict({"quantization": {"quantizer": "dummy", "options": {"strength": "2"}}})
    assert config.quantizer_options() == DummyConfig(2.0)


@pytest.mark.usefixtures("_clean_registry")
def test_new_method_is_one_new_file(tmp_path, monkeypatch):
    source = """
        from dqf.registry import register

        @register("quantizer", "one-file", title="One file", summary="Does nothing.")
        def quantize_weight():
            pass
    """
    (tmp_path / "one_file.py").write_text(textwrap.dedent(source))
    import dqf.methods.quantizers as package

    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry.reload()
    assert "one-file" in registry.names("quantizer")
    registry.reload()


@pytest.mark.usefixtures("_clean_registry")
def test_flag_of_a_setting_cannot_be_taken_by_a_method():
    @dataclasses.dataclass(frozen=True)
    class Greedy:
        seed: int = setting(0, "Seed", "Taken.", flag="--seed")

    registry.entries("quantizer")
    registry.register("quantizer", "greedy", title="G", summary="x", config=Greedy)(lambda: None)
    with pytest.raises(ValueError, match="--seed"):
        flags.all_flags()
