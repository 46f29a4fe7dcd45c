"""Energy: what counters say, and what is said where there are none."""

import sys
import types

import pandas as pd
import pytest

from dqf.errors import UserError
from dqf.evaluate.energy import RaplMeter, open_meter
from dqf.evaluate.throughput import throughput_figures
from dqf.settings import load_settings


def write_zone(powercap, zone, name, energy_uj, largest=1_000_000):
    folder = powercap / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{largest}\n")


def test_packages_are_summed_and_counted_once(tmp_path):
    write_zone(tmp_path, "intel-rapl:0", "package-0", 100_000)
    write_zone(tmp_path, "intel-rapl:0:0", "core", 70_000)
    write_zone(tmp_path, "intel-rapl:1", "package-1", 400_000)
    write_zone(tmp_path, "intel-rapl:2", "psys", 600_000)
    write_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 100_000)
    meter = open_meter("cpu", tmp_path)
    assert meter.source == "rapl"
    before = meter.read()
    write_zone(tmp_path, "intel-rapl:0", "package-0", 350_000)
    write_zone(tmp_path, "intel-rapl:1", "package-1", 500_000)
    assert meter.joules(before, meter.read()) == pytest.approx(0.35)


def test_a_counter_that_wrapped_around_is_carried_on(tmp_path):
    meter = RaplMeter({"a": 1_000_000, "b": 1_000_000})
    assert meter.joules({"a": 900_000, "b": 10}, {"a": 200_000, "b": 10}) == pytest.approx(0.3)


def test_no_counter_and_an_unreadable_one_are_no_meter(tmp_path):
    assert open_meter("cpu", tmp_path / "none") is None
    write_zone(tmp_path, "intel-rapl:0", "package-0", 5)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert open_meter("cpu", tmp_path) is None
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("?")
    assert open_meter("cpu", tmp_path) is None


def test_nvml_counts_the_first_visible_gpu(monkeypatch):
    asked = []
    readings = iter((1000, 2000, 5500))
    fake = types.ModuleType("pynvml")
    fake.nvmlInit = lambda: None
    fake.nvmlDeviceGetHandleByIndex = lambda index: asked.append(index) or index
    fake.nvmlDeviceGetTotalEnergyConsumption = lambda gpu: next(readings)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    meter = open_meter("cuda")
    assert (meter.source, asked) == ("nvml", [3])
    assert meter.joules(meter.read(), meter.read()) == pytest.approx(3.5)


def test_without_nvml_a_gpus_energy_is_estimated_by_the_clock_not_by_processor_time(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_meter("cuda") is None
    figures = throughput_figures(batches(), "cuda", 5.0, 250.0)
    assert figures["energy_j_per_1000"] == pytest.approx(1000 * 0.13 * 250 / 32)
    assert (figures["energy_source"], figures["energy_watts_per_core"]) == ("estimate_gpu", 250.0)


def batches(**changes):
    rows = {
        "batch": [8, 8, 8],
        "passes": [1, 2, 1],
        "ms": [10.0, 40.0, 80.0],
        "cpu_s": [0.02, 0.07, 0.01],
        "energy_j": [None, None, None],
        "energy_source": [None, None, None],
    }
    return pd.DataFrame(rows | changes).astype({"energy_j": float})


def test_throughput_is_a_median_and_energy_a_labelled_estimate():
    assert throughput_figures(batches(), "cpu", 5.0, 250.0) == pytest.approx(
        {
            "throughput_per_s": 400.0,
            "throughput_batch": 8,
            "throughput_n": 3,
            "energy_j_per_1000": 1000 * 0.1 * 5 / 32,
            "energy_source": "estimate",
            "energy_watts_per_core": 5.0,
        }
    )


def test_measured_energy_names_its_counter_and_no_assumption():
    measured = batches(energy_j=[0.1, 0.2, 0.02], energy_source=["rapl"] * 3)
    figures = throughput_figures(measured, "cpu", 5.0, 250.0)
    assert figures["energy_j_per_1000"] == pytest.approx(10.0)
    assert (figures["energy_source"], figures["energy_watts_per_core"]) == ("rapl", None)


def test_a_counter_that_stood_still_is_not_believed():
    still = batches(energy_j=[0.0, 0.0, 0.0], energy_source=["rapl"] * 3)
    assert throughput_figures(still, "cpu", 5.0, 250.0)["energy_source"] == "estimate"


@pytest.mark.parametrize("given", ["many", "0", "-3", "nan", "inf", "1e9"])
def test_the_assumption_must_be_a_sensible_number(given, monkeypatch):
    monkeypatch.setenv("DQF_WATTS_PER_CORE", given)
    with pytest.raises(UserError, match="`DQF_WATTS_PER_CORE` must be a number"):
        load_settings()


def test_the_assumption_is_a_setting(monkeypatch):
    monkeypatch.setenv("DQF_WATTS_PER_CORE", "7.5")
    assert load_settings().watts_per_core == 7.5
