"""What a figure was measured on."""

import pytest

from dqf import environment


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("fpu sse2 avx avx2 fma", ["AVX2"]),
        ("avx2 avx512f avx512_vnni", ["AVX-512"]),
        ("avx2 avx512f avx512_bf16", ["AVX-512", "BF16"]),
        ("avx2 avx512f amx_bf16 amx_tile", ["AMX", "BF16"]),
        ("fp asimd asimddp bf16 i8mm", ["NEON", "BF16"]),
        ("", []),
    ],
)
def test_vector_instructions_are_named_widest_first(flags, found):
    assert environment.vector_instructions(flags) == found


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"model name": "AMD EPYC", "flags": "avx2"}, "AMD EPYC (AVX2)"),
        ({"model name": "AMD EPYC", "flags": "sse2"}, "AMD EPYC"),
    ],
)
def test_processors_of_one_name_are_told_apart(facts, name, monkeypatch):
    monkeypatch.setattr(environment, "_cpu_facts", lambda: facts)
    environment.cpu_name.cache_clear()
    assert environment.cpu_name() == name
    assert environment.machine()["cpu"] == name
    assert environment.describe("cpu", 2)["cpu"] == name
    environment.cpu_name.cache_clear()


def test_without_linux_there_is_still_a_name(monkeypatch):
    monkeypatch.setattr(environment, "_cpu_facts", dict)
    environment.cpu_name.cache_clear()
    assert environment.cpu_name()
    environment.cpu_name.cache_clear()


def test_a_gpu_is_named_where_it_computes(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA {device}")
    assert environment.describe("cuda:1", 2)["gpu"] == "NVIDIA cuda:1"
    assert "gpu" not in environment.describe("cpu", 2)


def test_the_commit_of_a_hub_model_is_that_of_the_local_copy_where_the_hub_cannot_be_asked(tmp_path, monkeypatch):
    from huggingface_hub import constants

    from dqf.models.revision import hub_revision

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    hub_revision.cache_clear()
    assert hub_revision("org/other") == ""
    main = tmp_path / "models--org--name" / "refs" / "main"
    main.parent.mkdir(parents=True)
    main.write_text("a" * 40)
    assert hub_revision("org/name") == "a" * 40
    hub_revision.cache_clear()
