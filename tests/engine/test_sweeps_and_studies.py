"""Sweeps and studies on tiny real models, by their commands."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest

from dqf.jobs.protocol import read_json
from tests.support.tiny import tiny_config


def test_a_study_from_models_made_at_once_to_verdicts(settings, tiny_env, tmp_path, capsys, monkeypatch):
    """Two seeds of one task: models of two processes of one thread, runs that only measure, with two, and verdicts."""
    from dqf import cli
    from dqf.study.files import read_summary

    monkeypatch.setenv("DQF_THREADS", "2")
    plan = {"config": {**tiny_config(tiny_env, quantization={"quantizer": "rtn", "bits": [4]}), "seed": [0, 1]}}
    plan["config"]["measurement"]["shared_runtime"] = "openvino-fp32"
    (tmp_path / "tiny.json").write_text(json.dumps(plan))
    study = ["study", str(tmp_path / "tiny.json"), "--results-dir", str(settings.results_dir)]
    assert cli.main([*study, "--train-at-once", "3"]) == 2
    assert "`--train-at-once` must be 1 to 2" in capsys.readouterr().err
    code, told = cli.main([*study, "--train-at-once", "2"]), capsys.readouterr().err
    assert code == 0, told
    assert [told.count(f"models of run {number}/2 made") for number in (1, 2)] == [1, 1]
    assert "2/2 [4/" in told  # Student-FT of the second run, told while it was trained
    results = [read_json(run / "result.json") for run in sorted(settings.runs_dir.iterdir())]
    for one in results:
        assert one["environment"]["threads"] == 2
        cache = {stage["id"].split(":")[0]: stage["cache"] for stage in one["stages"]}
        made = ("teacher", "teacher-outputs", "student-ft", "student-kd", "quantize")
        assert [cache[stage] for stage in made] == ["hit"] * len(made)
        assert cache["evaluate"] == "miss"

    folder = settings.results_dir / "studies" / "tiny"
    summary = read_summary(folder)
    assert (len(results), summary["seeds"], summary["tasks"]) == (2, [0, 1], ["data"])
    teachers = {stage["key"] for one in results for stage in one["stages"] if stage["id"] == "teacher"}
    students = {stage["key"] for one in results for stage in one["stages"] if stage["id"] == "student-kd"}
    assert (len(teachers), len(students)) == (1, 2)
    scores = [row["score"] for one in results for row in one["variants"] if row["variant"] == "student-dqf"]
    assert summary["bits"]["4"]["score"] == pytest.approx(np.mean(scores))
    assert summary["bits"]["4"]["speedup_shared"] > 0
    variants = pd.read_parquet(folder / "variants.parquet")
    for column in ("train_seconds", "trained_params", "train_peak_memory_bytes"):
        assert (variants[column] > 0).all()
    assert {one["verdict"] for group in summary["verdicts"].values() for one in group} <= {
        "supported",
        "refuted",
        "undecided",
    }
    capsys.readouterr()
    assert cli.main([*study, "--check"]) == 0
    assert cli.main(study) == 0
    assert "2 runs, 2 done already" in capsys.readouterr().err


def test_ctrl_c_stops_all_that_make_models_and_keeps_what_they_did(settings, tiny_env, monkeypatch):
    monkeypatch.setenv("DQF_THREADS", "2")
    path = settings.results_dir.parent / "long.json"
    path.write_text(json.dumps(tiny_config(tiny_env, teacher={"epochs": 100, "batch_size": 1, "seed": [0, 1]})))
    command = [sys.executable, "-m", "dqf", "sweep", "--config", str(path), "--name", "long", "--train-at-once", "2"]
    process = subprocess.Popen(
        [*command, "--results-dir", str(settings.results_dir)], stderr=subprocess.PIPE, text=True
    )
    logs = settings.results_dir / "sweeps" / "long" / "ahead"
    until = time.monotonic() + 60
    while sum('"progress"' in log.read_text() for log in logs.glob("*/events.jsonl")) < 2:
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert "the same command goes on where it stopped" in told
    assert len(list(settings.cache_dir.glob("teacher/*.partial/checkpoint.pt"))) == 2
    left = [one for one in psutil.process_iter(["cmdline"]) if str(logs) in " ".join(one.info["cmdline"] or [])]
    assert left == []
