"""What a study tells besides its averages: flags, notes, faults, and what is scored beside a task."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from dqf.errors import UserError
from dqf.settings import load_settings
from dqf.study.analyse import analyse
from dqf.study.check import check
from dqf.study.collect import collect
from dqf.study.files import read_summary, read_tables, write_study
from dqf.study.keep import keep_older
from tests.support.example_studies import RESAMPLES, make_study, make_sweep


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path / "results")


def test_unfinished_runs_are_noted_and_not_guessed(settings, tmp_path):
    found = make_study(settings, tmp_path / "part", leave_out=lambda run: "rte" in run.label and run.config.seed == 1)
    assert any("1 runs have no result" in note for note in found["notes"])
    assert any("rte 1, mrpc 2" in note for note in found["notes"])
    rows = {row["task"]: row for row in found["bits"]["4"]["tasks"]}
    assert (rows["rte"]["seeds"], rows["mrpc"]["seeds"]) == ([0], [0, 1])
    with pytest.raises(UserError, match="none of the 8"):
        collect(make_sweep(load_settings(tmp_path / "none"), leave_out=lambda run: True), "mine", "", "")


def test_weak_teachers_and_reduced_data_are_told(settings, tmp_path):
    errors = {"teacher": 0.5, "student-ft": 0.1, "student-kd": 0.1, "student-ptq": 0.1, "student-dqf": 0.1}
    found = make_study(settings, tmp_path / "weak", errors=errors)
    kinds = {(flag["kind"], flag["task"]) for flag in found["sanity"]}
    assert ("beats-teacher", "rte") in kinds
    assert {task for kind, task in kinds if kind in ("constant", "far-below-published")} >= {"rte", "mrpc"}
    assert "rte: synthetic example" in found["notes"]


def test_a_fault_that_was_found_later_is_told_before_a_figure_is_quoted(settings, tmp_path):
    make_study(settings, tmp_path / "mine")
    tables = read_tables(tmp_path / "mine")
    tables.study["tasks"]["rte"]["fault"] = "rte: half of each text was lost."
    flags = [flag for flag in analyse(tables, RESAMPLES)["sanity"] if flag["kind"] == "known-fault"]
    assert [(flag["task"], flag["system"], flag["sentence"]) for flag in flags] == [
        ("rte", "teacher", "rte: half of each text was lost.")
    ]


def test_a_fault_stays_for_as_long_as_the_tasks_runs_are_the_same(settings, tmp_path):
    make_study(settings, tmp_path / "mine")
    new, old = read_tables(tmp_path / "mine"), read_tables(tmp_path / "mine")
    old.study["tasks"]["rte"]["fault"] = "rte: half of each text was lost."
    assert keep_older(new, old, ["rte"]).study["tasks"]["rte"]["fault"] == "rte: half of each text was lost."
    again = read_tables(tmp_path / "mine")
    for run in again.study["runs"]:
        run["run_id"] += "-again"
    assert "fault" not in keep_older(again, old, ["rte"]).study["tasks"]["rte"]


def test_lengths_that_had_graphs_of_their_own_are_told(settings, tmp_path):
    make_study(settings, tmp_path / "mine")
    tables = read_tables(tmp_path / "mine")
    count = tables.variants["fixed_lengths"]
    assert set(count[tables.variants["bits"] == "16"]) == {0}
    assert set(count[tables.variants["bits"] != "16"]) == {3}
    told = [note for note in analyse(tables, RESAMPLES)["notes"] if "graphs of their own" in note]
    assert len(told) == 1
    assert "up to 3 of a student and none of the teacher" in told[0]
    tables.variants.loc[tables.variants["task"] == "rte", "fixed_lengths"] = None
    assert any("from before there were any: rte." in note for note in analyse(tables, RESAMPLES)["notes"])
    for older in (tables.variants.assign(fixed_lengths=None), tables.variants.drop(columns="fixed_lengths")):
        notes = analyse(dataclasses.replace(tables, variants=older), RESAMPLES)["notes"]
        assert not any("graphs of their own" in note for note in notes)


def test_what_is_scored_beside_a_task_is_kept_and_told_but_not_averaged(settings, tmp_path):
    """MNLI mismatched; also where the tasks are kept from an earlier sitting."""
    config = {"seed": [0, 1], "task": {"source": ["glue:mnli", "glue:rte"]}, "quantization": {"bits": [4]}}
    sweep = make_sweep(settings, config)
    for entry in sweep.entries:
        if entry.run.config.task.source == "glue:mnli":
            score_beside(sweep.run_dir(entry))
    tables = collect(sweep, "mine", "Mine", "")
    write_study(tmp_path / "out", tables, lambda tables: analyse(tables, RESAMPLES))
    found = read_summary(tmp_path / "out")
    row = next(row for row in found["bits"]["4"]["tasks"] if row["task"] == "mnli")
    (beside,) = row["further"]
    frame = pd.read_parquet(tmp_path / "out" / "predictions" / "mnli-mismatched.parquet")
    frame = frame[(frame["variant"] == "student-dqf") & (frame["bits"] == "4")]
    right = (frame["label"] == frame["prediction"]).groupby(frame["seed"]).mean()
    assert beside["metric"] == "mnli-mismatched accuracy"
    assert beside["score"] == pytest.approx(right.mean())
    assert beside["score"] != pytest.approx(row["score"])
    assert found["tasks"] == ["mnli", "rte"]
    assert check(tmp_path / "out") == []
    old = read_tables(tmp_path / "out")
    fewer = collect(
        make_sweep(load_settings(tmp_path / "later"), config, lambda run: run.config.seed == 1), "mine", "", ""
    )
    kept = keep_older(fewer, old, ["mnli", "rte"])
    assert set(kept.predictions) == {"mnli", "mnli-mismatched", "rte"}


def test_latencies_of_few_different_examples_are_told(settings, tmp_path):
    """Where texts are fewer than passes, earlier versions numbered the passes."""
    tables = collect(make_sweep(settings, {"task": {"source": ["glue:rte"]}}), "mine", "Mine", "")
    tables = dataclasses.replace(
        tables, latency=pd.concat([tables.latency.assign(row=tables.latency["row"] + 40 * at) for at in range(5)])
    )

    def told():
        return [flag["value"] for flag in analyse(tables, RESAMPLES)["sanity"] if flag["kind"] == "few-timings"]

    assert tables.latency["row"].nunique() == 200
    assert told() == [120], "of 120 evaluated rows"
    tables.latency["row"] %= 30
    assert told() == [30]
    tables = dataclasses.replace(tables, latency=tables.latency.head(0))
    assert told() == []


def score_beside(run_dir):
    """Let a finished run have scored 50 further rows."""
    result = json.loads((run_dir / "result.json").read_text())
    for variant in result["variants"]:
        frame = pd.read_parquet(run_dir / variant["predictions"]).head(50)
        frame["label"] = np.where(frame["idx"] % 2, frame["label"], 2 - frame["label"])
        file = f"{variant['predictions']}.beside.parquet"
        frame.to_parquet(run_dir / file)
        variant["tasks"] = {"mnli": {}, "mnli-mismatched": {"extra": True, "predictions": file}}
    (run_dir / "result.json").write_text(json.dumps(result))
