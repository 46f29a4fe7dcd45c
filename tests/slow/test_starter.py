"""The main job on the real starter models, reduced to a few hundred headlines, through the command line."""

import json
import os
import subprocess
import sys

import pytest

from dqf.errors import UserError
from dqf.models.catalog import starter_path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _wheels():
    try:
        starter_path("smollm2-135m")
    except UserError as error:
        pytest.fail(str(error))


def run(results, *arguments):
    command = [sys.executable, "-m", "dqf", "run", "--results-dir", str(results), "--json", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Fine-tune the teacher" in done.stderr
    return json.loads(done.stdout)


def test_reduced_starter_measures_the_fusion(tmp_path):
    reduced = (
        "--train-rows",
        "400",
        "--eval-rows",
        "200",
        "--teacher-epochs",
        "2",
        "--student-epochs",
        "4",
        "--latency-samples",
        "40",
    )
    result = run(tmp_path, "--preset", "starter", *reduced)
    rows = {row["variant"]: row for row in result["variants"]}
    teacher, fused = rows["teacher"], rows["student-dqf"]
    assert all(row["verified"] for row in rows.values())
    assert teacher["params"] == 134_517_888
    assert fused["compression_ratio"] > 15
    assert fused["size_bytes"] == pytest.approx(fused["size_bytes_expected"], rel=0.03)
    majority = 0.3
    assert teacher["score"] > 2 * majority
    assert fused["score"] > 2 * majority
    assert fused["retention"] > 0.9
    assert fused["speedup"] > 1  # a time, but one with a factor of ten to spare

    again = run(tmp_path, "--preset", "starter", *reduced, "--bits", "2", "--quantizer", "gptq")
    caches = {stage["id"]: stage["cache"] for stage in again["stages"]}
    assert {caches[stage] for stage in ("teacher", "teacher-outputs", "student-ft", "student-kd")} == {"hit"}
    smallest = next(row for row in again["variants"] if row["variant"] == "student-dqf")
    assert smallest["size_bytes"] < fused["size_bytes"]
