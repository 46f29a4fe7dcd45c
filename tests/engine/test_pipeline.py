"""The whole engine on tiny real models: nothing is mocked, every process is started for real."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from dqf.artifacts import open_artifact
from dqf.config import RunConfig
from dqf.data.load import load_task
from dqf.jobs.protocol import create_run, read_events
from dqf.jobs.worker import run_in_process
from dqf.pipeline import make_models, planned_stages
from dqf.progress import SilentReporter
from dqf.stages._cache import Output, StageCache
from dqf.stages._choice import choose, pooled_latencies
from dqf.stages._context import Context
from dqf.stages.benchmark import time_in_one_runtime
from tests.support.tiny import tiny_config
from tests.support.tiny_runs import Said, caches, hashes, launch, same_predictions


def test_a_run_measures_five_variants_and_the_next_bit_width_trains_nothing(undisturbed, tiny_env):
    settings, run_dir, result = undisturbed
    assert [row["variant"] for row in result["variants"]] == [
        "teacher",
        "student-ft",
        "student-kd",
        "student-ptq",
        "student-dqf",
    ]
    assert set(caches(result).values()) == {"miss"}
    kinds = {flag["kind"] for flag in result["sanity"]}  # no published score, and five timed examples
    assert {"few-timings"} <= kinds <= {"few-timings", "beats-teacher"}
    for row in result["variants"]:
        assert row["verified"]
        artifact = open_artifact(run_dir / row["artifact"])
        assert artifact.size_bytes == row["size_bytes"]
        predictions = pd.read_parquet(run_dir / row["predictions"])
        assert list(predictions.columns) == ["idx", "label", "prediction", "logits"]
        task = row["tasks"]["data"]
        assert task["n"] == len(predictions)
        assert task["value"] == pytest.approx((predictions["label"] == predictions["prediction"]).mean())
        assert task["ci95_low"] <= task["value"] <= task["ci95_high"]
        assert row["latency_ms_p50"] <= row["latency_ms_p90"]
        assert row["throughput_per_s"] > 0
        assert (row["throughput_batch"], row["throughput_n"]) == (8, 3)
        assert row["energy_j_per_1000"] > 0
        assert (row["energy_watts_per_core"] is None) == (row["energy_source"] == "rapl")
        chosen = next(one for one in row["runtime_candidates"] if one["runtime"] == row["runtime"])
        assert chosen["faithful"]
        fixed = row["fixed_lengths"]
        assert fixed["mb_each"] > 0
        assert fixed["relative_l2_error"] < 0.08
        assert set(fixed["lengths"]) <= {8, 16, 24, 32}
        assert bool(fixed["lengths"]) == (fixed.get("pooled_ratio", 1) <= 0.95)  # no ratio where one was not faithful
        metrics = next(one for one in result["stages"] if one["id"] == f"evaluate:{row['variant_id']}")["metrics"]
        assert row["peak_rss_bytes"] == metrics["peak_rss_bytes" + "_with_graphs" * bool(fixed["lengths"])]
    judged = [row for row in result["variants"][1:] if "pooled_ratio" in row["fixed_lengths"]]
    assert judged
    alike = {(row["bits"] < 16, row["runtime"], row["fixed_lengths"]["pooled_ratio"]) for row in judged}
    assert len(alike) == len({(packed, runtime) for packed, runtime, _ in alike}), "judged together"
    key = next(stage["key"] for stage in result["stages"] if stage["id"] == "benchmark")
    timed = json.loads((settings.cache_dir / "benchmark" / key / "done.json").read_text())["config"]["variants"]
    for row in result["variants"]:
        assert timed[row["variant_id"]][1:] == [row["runtime"], *row["fixed_lengths"]["lengths"]]
    batches = pd.read_parquet(run_dir / "throughput.parquet")
    assert (batches.groupby("variant_id").size() == 3).all()
    assert batches["variant_id"].head(10).tolist() == [
        *(row["variant_id"] for row in result["variants"]),
        *(row["variant_id"] for row in result["variants"][1:] + result["variants"][:1]),
    ]
    teacher = result["variants"][0]
    assert (teacher["compression_ratio"], teacher["retention"], teacher["speedup"]) == (1, 1, 1)
    receipt = json.loads((run_dir / result["variants"][3]["receipt"]).read_text())
    assert {row["kind"] for row in receipt} == {"linear", "embedding"}
    assert all(row["calibration_tokens"] > 0 for row in receipt if row["kind"] == "linear")

    assert np.float32(1e-40) + np.float32(0) > 0  # a run flushes denormal numbers to zero; others must not notice

    other_dir, other = launch(settings, tiny_env, quantization={"bits": [8, 4, 2]})
    found = caches(other)
    for stage in ("teacher", "teacher-outputs", "student-ft", "student-kd", "quantize:student-dqf-gptq-4bit"):
        assert found[stage] == "hit", stage
    assert found["quantize:student-dqf-gptq-2bit"] == "miss"
    assert len(other["variants"]) == 9
    sizes = {row["variant_id"]: row["size_bytes"] for row in other["variants"]}
    assert sizes["student-dqf-gptq-2bit"] < sizes["student-dqf-gptq-4bit"] < sizes["student-dqf-gptq-8bit"]
    same_predictions(run_dir, other_dir, result)


def test_mnli_mismatched_is_scored_beside_the_task(settings, tiny_env, tmp_path, monkeypatch):
    folder = tmp_path / "data" / "glue" / "mnli"
    folder.mkdir(parents=True)
    for split, rows in (("train", 120), ("validation_matched", 40), ("validation_mismatched", 50)):
        frame = pd.DataFrame(
            {"premise": [f"the {'great' if i % 3 else 'awful'} film {split} {i}" for i in range(rows)]}
        )
        frame.assign(hypothesis="the book", label=[i % 3 for i in range(rows)]).to_parquet(folder / f"{split}.parquet")
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path / "data"))
    from dqf.settings import load_settings

    run_dir, result = launch(load_settings(settings.results_dir), tiny_env, task={"source": "glue:mnli"})
    for row in result["variants"]:
        matched, mismatched = row["tasks"]["mnli"], row["tasks"]["mnli-mismatched"]
        assert (matched["n"], mismatched["n"]) == (40, 50)
        assert row["score"] == matched["value"]
        assert mismatched["extra"]
        predictions = pd.read_parquet(run_dir / mismatched["predictions"])
        assert mismatched["value"] == pytest.approx((predictions["label"] == predictions["prediction"]).mean())
        assert len(pd.read_parquet(run_dir / row["predictions"])) == 40


def test_students_cut_from_the_teacher_and_rounding_tuned_on_the_answers(settings, tiny_env):
    run_dir, result = launch(
        settings,
        tiny_env,
        student={"model": "teacher-layers", "keep_layers": "0,3"},
        quantization={"quantizer": "rtn", "bits": [2], "output_steps": 30},
    )
    teacher, student, last = result["variants"][0], result["variants"][1], result["variants"][-1]
    assert student["params"] < teacher["params"]
    assert last["quantizer"] == "rtn"
    assert last["verified"]
    receipt = json.loads((run_dir / last["receipt"]).read_text())
    assert all(row["output_distance"] < row["output_distance_before"] for row in receipt)
    said = [event.text for event in read_events(run_dir) if "texts held back, fell from" in event.text]
    assert len(said) == 2, "one for each student"
    assert not list((run_dir / last["artifact"]).glob("checkpoint*"))


def test_regression_with_pairs(settings, tiny_env):
    rng = np.random.default_rng(0)
    words = ["great", "awful", "film", "book"]
    frame = pd.DataFrame(
        {
            "a": [f"the {words[i % 4]} number {i}" for i in range(120)],
            "b": [f"the {words[i // 4 % 4]}" for i in range(120)],
            "score": rng.random(120) * 5,
        }
    )
    frame.to_parquet(tiny_env / "pairs.parquet")
    _, result = launch(
        settings,
        tiny_env,
        task={
            "source": f"file:{tiny_env / 'pairs.parquet'}",
            "text_column": "a",
            "text_pair_column": "b",
            "label_column": "score",
        },
        quantization={"bits": [8, 2]},
        measurement={"runtime": "auto"},
    )
    assert result["task"]["kind"] == "regression"
    assert all(row["verified"] for row in result["variants"])
    assert len(result["variants"][0]["runtime_candidates"]) >= 4
    runtimes = {row["variant_id"]: row["runtime"] for row in result["variants"]}
    tables = [row["runtime_candidates"] for row in result["variants"] if row["variant"] == "student-ptq"]
    pooled = pooled_latencies(tables)
    for bits, rows in zip((8, 2), tables, strict=True):
        assert runtimes[f"student-ptq-gptq-{bits}bit"] == choose(rows, pooled)["runtime"]  # judged together
        preferred = next(row for row in result["variants"] if row["variant_id"] == f"student-dqf-gptq-{bits}bit")
        if preferred["runtime_candidates"][0]["faithful"]:
            assert preferred["runtime"] == runtimes[f"student-ptq-gptq-{bits}bit"]
    config = RunConfig.from_dict(result["config"])
    assert ["data", *(one["id"] for one in result["stages"]), "record"] == [one["id"] for one in planned_stages(config)]
    (score,) = result["variants"][0]["tasks"].values()
    assert [one["metric"] for one in score["further"]] == ["pearson", "spearman"]
    assert sum(one["value"] for one in score["further"]) / 2 == pytest.approx(score["value"])


def test_same_config_and_seed_twice_without_a_shared_cache(undisturbed, settings, tiny_env, tmp_path):
    run_dir, result = launch(settings, tiny_env)
    assert set(caches(result).values()) == {"miss"}
    assert hashes(result) == hashes(undisturbed.result)
    same_predictions(run_dir, undisturbed.run_dir, result)
    config = RunConfig.from_dict(tiny_config(tiny_env, seed=1))
    make_models(config, tmp_path / "scratch", settings, SilentReporter())
    students = [path.read_bytes() for path in settings.cache_dir.glob("student-kd/*/model.safetensors")]
    assert len(students) == 2
    assert students[0] != students[1]


@pytest.mark.parametrize("broken", ["teacher", "student"])
def test_weights_that_are_no_numbers_are_told_before_anything_is_trained(settings, tiny_env, broken):
    from safetensors.torch import load_file, save_file

    config = tiny_config(tiny_env)
    folder = tiny_env / f"broken-{broken}"
    shutil.copytree(tiny_env / broken, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith(("embed_tokens.weight", "word_embeddings.weight")))
    weights[name][-1, 0] = torch.inf  # of a token that no text has: training would never notice
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config[broken]["model"] = str(folder)
    run_dir = create_run(settings.runs_dir, config, "tiny")
    assert run_in_process(run_dir, settings) == "failed"
    events = list(read_events(run_dir))
    assert f"{name} of {folder} holds NaN or infinity" in json.dumps(events[-1].data)
    assert not any(event.kind == "progress" for event in events)


def test_all_variants_in_one_runtime(settings, tiny_env):
    measurement = {"shared_runtime": "openvino-fp32", "fixed_length_mb": 0}
    run_dir, result = launch(settings, tiny_env, measurement=measurement)
    shared = pd.read_parquet(run_dir / "latency_shared.parquet")
    assert set(shared.columns) == {"row", *(row["variant_id"] for row in result["variants"])}
    for row in result["variants"]:
        assert row["shared"]["runtime"] == "openvino-fp32"
        assert row["shared"]["latency_ms_p50"] == pytest.approx(shared[row["variant_id"]].median())
    assert result["variants"][0]["shared"]["speedup"] == 1
    assert caches(result)["benchmark-shared"] == "miss"
    assert all(row["fixed_lengths"] == {"lengths": []} for row in result["variants"]), "none were allowed"
    none_dir, none = launch(settings, tiny_env, measurement={"shared_runtime": "openvino-w8a8"})
    assert none["variants"][0]["shared"] is None
    assert any("does not serve teacher" in event.text for event in read_events(none_dir))


def test_a_shared_runtime_that_cannot_load_packed_files_does_not_time_them(undisturbed, tiny_env, tmp_path):
    runtime, loaded, packed = "openvino-bf16", "teacher", "student-dqf-gptq-4bit"
    config = RunConfig.from_dict(tiny_config(tiny_env, measurement={"shared_runtime": runtime}))
    # OpenVINO 2026 divides by zero with one thread on AMX (Llama, BF16).
    settings = dataclasses.replace(undisturbed.settings, threads=2)
    reporter, task, device = Said(), load_task(config, settings), torch.device("cpu")
    cache = StageCache(tmp_path / "cache", reporter)
    context = Context(config, task, task.fingerprint(), settings, tmp_path, reporter, cache, device)
    keys = {stage["id"]: stage["key"] for stage in undisturbed.result["stages"]}
    exports = {}
    for name in (loaded, packed):
        key = keys[f"export:{name}"]
        exports[name] = Output(key, settings.cache_dir / "export" / key, {}, "hit")
    output = time_in_one_runtime(context, exports)
    assert set(pd.read_parquet(output.folder / "latency.parquet").columns) == {"row", loaded}
    assert reporter.texts == [f"{runtime} does not serve {packed} faithfully: not timed there."]


def test_mixed_precision_keeps_an_average_and_a_size_budget_of_the_written_file(settings, tiny_env, tmp_path):
    # Groups of 16 with input ranges take 5 to 11 bits a weight in models this small: between 2 and 8 bits.
    config = RunConfig.from_dict(tiny_config(tiny_env, quantization={"bits": [8, 2]}))
    make_models(config, tmp_path / "scratch", settings, SilentReporter())
    sizes = sorted({path.stat().st_size for path in settings.cache_dir.glob("quantize/*/model.safetensors")})
    smallest, largest = sizes[0], sizes[-1]
    budget = (smallest + largest) / 2e6
    run_dir, result = launch(
        settings, tiny_env, quantization={"bits": [2], "average_bits": 3.5, "size_budget_mb": budget}
    )
    by_name = {row["variant_id"]: row for row in result["variants"]}
    receipts = {
        name: json.loads((run_dir / row["receipt"]).read_text()) for name, row in by_name.items() if row["receipt"]
    }
    averages = {
        name: sum(one["bits"] * one["params"] for one in rows) / sum(one["params"] for one in rows)
        for name, rows in receipts.items()
    }
    mixed = "student-dqf-gptq-mixed3.5bit"
    assert by_name[mixed]["bits"] == 3.5
    assert 2 < averages[mixed] <= 3.5
    limited = f"student-dqf-gptq-mixed{budget:g}MB"
    assert smallest < by_name[limited]["size_bytes"] <= 1e6 * budget < largest
    assert by_name[limited]["bits"] == pytest.approx(averages[limited], abs=1e-3)
    assert all(row["verified"] for row in result["variants"])
    assert list(settings.cache_dir.glob("quantize/*/tried")) == [], "what was tried is not kept"
