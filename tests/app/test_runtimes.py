"""The tab Runtimes of a run: what serves each variant, and what came of the others."""

import json

import pandas as pd
import pytest

from dqf.ui.runs import runtimes
from tests.support.example_runs import write_example_run


@pytest.fixture
def run(settings):
    return write_example_run(settings.runs_dir, bits=(4, 2), seed=3)


def test_every_candidate_of_every_variant_is_shown(open_page, run):
    app = open_page("runs", run=run.name, part="Runtimes")
    assert not app.exception
    wide, each, fixed = (element.value for element in app.dataframe if "Variant" in element.value)
    result = json.loads((run / "result.json").read_text())
    assert len(wide) == len(result["variants"])
    assert len(each) == sum(len(one["runtime_candidates"]) for one in result["variants"])
    for row, variant in zip(wide.to_dict("records"), result["variants"], strict=True):
        assert row[variant["runtime"]] == f"● {variant['runtime_candidates'][0]['latency_ms_p50']:.2f}"
        assert row["openvino-w8a8"] == "▲ 1.00"
        assert row["torch-packed"] == "–"
    pooled = each.set_index("Runtime")["All bits (×)"]
    assert set(pooled["torch-fp32"]) == {4.5}
    assert pooled["torch-packed"].isna().all()
    quantized = [one for one in result["variants"] if one["fixed_lengths"]["lengths"]]
    assert 0 < len(quantized) < len(result["variants"])
    assert fixed["Tokens"].tolist() == ["8, 16, 24"] * len(quantized)
    assert fixed["Fixed (ms)"].tolist() == [one["fixed_lengths"]["fixed_length_ms_p50"] for one in quantized]
    assert fixed["Times as fast"].tolist() == pytest.approx([1.25] * len(quantized), rel=1e-2)
    assert fixed["All bits (×)"].tolist() == [1.25] * len(quantized)
    assert (each[each["Runtime"] == "torch-packed"]["Left out because"].str.contains("far slower")).all()


def test_a_run_without_timings_says_so(open_page, run):
    path = run / "result.json"
    result = json.loads(path.read_text())
    for one in result["variants"]:
        one["runtime_candidates"] = []
        del one["fixed_lengths"]  # as runs recorded before
    path.write_text(json.dumps(result))
    app = open_page("runs", run=run.name, part="Runtimes")
    assert not app.exception
    assert any("recorded no timings" in one.value for one in app.caption)


def test_a_runtime_ruled_out_by_its_first_passes_keeps_their_time():
    found = pd.DataFrame(
        {
            "variant_id": ["teacher", "teacher"],
            "chosen": [True, False],
            "runtime": ["openvino-fp32", "torch-fp32"],
            "precision": ["FP32", "FP32"],
            "latency_ms_p50": [46.0, 165.2],
            "pooled_latency": [1.0, float("nan")],
            "relative_l2_error": [1e-6, float("nan")],
            "argmax_agreement": [1.0, float("nan")],
            "faithful": [True, None],
            "error": ["", "not compared: 3.6 times as slow"],
        }
    )
    (row,) = runtimes.matrix(found, {"teacher": "Teacher"}).to_dict("records")
    assert row == {"Variant": "Teacher", "openvino-fp32": "● 46.00", "torch-fp32": "165.20"}
    assert runtimes.details(found, {})["Outcome"].tolist() == ["● chosen", "slower"]
