"""Studies made in several sittings: which tasks stay as they were, and what is said of them."""

from dataclasses import replace

import numpy as np
import pytest

from dqf.settings import load_settings
from dqf.study.analyse import analyse
from dqf.study.collect import collect
from dqf.study.files import read_summary, read_tables, write_study
from dqf.study.keep import keep_older
from tests.support.example_studies import CONFIG, NAMES, RESAMPLES, make_study, make_sweep


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path / "results")


def test_another_sitting_keeps_the_tasks_that_are_whole(settings, tmp_path):
    """A task is made anew only when it has as many runs as before; the others stay, and the summary says so."""
    before, out = tmp_path / "before", tmp_path / "out"
    make_study(settings, before, leave_out=lambda run: "mrpc" in run.label)
    old = read_tables(before)
    elsewhere = load_settings(tmp_path / "elsewhere")
    sweep = make_sweep(elsewhere, leave_out=lambda run: "rte" in run.label and run.config.seed == 1)
    new = collect(sweep, "mine", "Mine", "again")
    kept = keep_older(new, old, NAMES)
    write_study(out, kept, lambda tables: analyse(tables, RESAMPLES))
    found = read_summary(out)
    assert set(kept.study["kept"]) == {"rte"}
    assert kept.study["settings"]["quantization.group_size"] == [32]
    without = {name: value for name, value in old.study.items() if name != "settings"}
    assert keep_older(new, replace(old, study=without), NAMES).study["settings"] == {}, "a part is not the whole"
    assert kept.study["kept"]["rte"]["description"] == ""
    assert kept.predictions["rte"].equals(old.predictions["rte"])
    assert kept.predictions["mrpc"].equals(new.predictions["mrpc"])
    assert set(kept.predictions) == {"rte", "mrpc", "stsb", "wnli"}
    assert kept.study["unfinished"] == []
    ids = {task: set(part["run_id"]) for task, part in kept.variants.groupby("task")}
    assert ids["rte"] == {run["run_id"] for run in old.study["runs"] if run["task"] == "rte"}
    assert "Kept from an earlier making of this study, with its plan of then: rte." in found["notes"]
    assert [(row["task"], row["seeds"]) for row in found["bits"]["4"]["tasks"]] == [
        (task, [0, 1]) for task in ("mrpc", "stsb", "wnli", "rte")
    ]


def test_an_own_file_is_kept_as_well_and_its_missing_runs_are_not_told_as_missing(settings, tmp_path):
    """A study of one task: no axis says whose runs are missing."""
    (tmp_path / "reviews.csv").write_text("text,label\n")
    config = {
        "seed": [0, 1],
        "task": {"source": f"file:{tmp_path / 'reviews.csv'}", "text_column": "text", "label_column": "label"},
    }
    old = collect(make_sweep(settings, config), "mine", "Mine", "")
    sweep = make_sweep(load_settings(tmp_path / "other"), config, leave_out=lambda run: run.config.seed == 1)
    new = collect(sweep, "mine", "Mine", "")
    assert [one["task"] for one in new.study["unfinished"]] == ["reviews"]
    old.study["environments"] = [{"cpu": "another"}]
    kept = keep_older(new, old, ["reviews"])
    assert set(kept.study["kept"]) == set(kept.predictions) == {"reviews"}
    assert kept.study["unfinished"] == []
    assert kept.study["environments"] == [{"cpu": "another"}]


def test_times_of_different_machines_are_not_averaged(settings, tmp_path):
    """A task made on another machine counts for scores, sizes and H1; its speed-up stands in its own row alone."""
    make_study(settings, tmp_path / "mine")
    tables = read_tables(tmp_path / "mine")
    whole = analyse(tables, RESAMPLES)
    assert whole["baseline"]["timed_elsewhere"] == {}
    moved, mine = tables.variants.copy(), tables.latency.copy()
    rte = mine["task"] == "rte"
    moved.loc[moved["task"] == "rte", "hardware"] = "Another CPU"
    mine.loc[rte & (mine["variant"] != "teacher"), "ms"] *= 4
    found = analyse(replace(tables, variants=moved, latency=mine), RESAMPLES)
    rows = {row["task"]: row["speedup"] for row in found["bits"]["4"]["tasks"]}
    others = [speedup for task, speedup in rows.items() if task != "rte"]
    assert found["bits"]["4"]["speedup"] == pytest.approx(np.exp(np.mean(np.log(others))))
    assert rows["rte"] == pytest.approx(
        next(row["speedup"] / 4 for row in whole["bits"]["4"]["tasks"] if row["task"] == "rte"), rel=1e-6
    )
    assert found["bits"]["4"]["score"] == whole["bits"]["4"]["score"]
    assert found["verdicts"]["H1"] == whole["verdicts"]["H1"]
    assert found["baseline"]["hardware"] == ["Example CPU"]
    assert found["baseline"]["timed_elsewhere"] == {"rte": "Another CPU, 2 threads"}
    assert any("are without rte (Another CPU, 2 threads)." in note for note in found["notes"])
    logs = [np.log(row["latency_ms_p50"]) for row in found["bits"]["4"]["tasks"] if row["task"] != "rte"]
    assert found["bits"]["4"]["latency_ms_p50"] == pytest.approx(np.exp(np.mean(logs)))
    assert all(one["details"]["not_counted"] == ["rte"] for one in found["verdicts"]["H2"])
    assert all("as another machine timed them: rte." in one["sentence"] for one in found["verdicts"]["H2"])
    assert whole["verdicts"]["H2"][0]["details"]["not_counted"] == []
    assert found["verdicts"]["H2"][0]["effect"] != whole["verdicts"]["H2"][0]["effect"]


def test_a_task_whose_runs_several_machines_timed_is_none_of_the_usual_one(settings, tmp_path):
    make_study(settings, tmp_path / "mine")
    tables = read_tables(tmp_path / "mine")
    variants = tables.variants.copy()
    variants.loc[variants["task"].isin(["rte", "mrpc"]) & (variants["seed"] == 1), "hardware"] = "Another CPU"
    variants.loc[variants["task"] == "wnli", "threads"] = 4
    found = analyse(replace(tables, variants=variants), RESAMPLES)
    both = "Another CPU, 2 threads and Example CPU, 2 threads"
    elsewhere = {"rte": both, "mrpc": both, "wnli": "Example CPU, 4 threads"}
    assert found["baseline"]["timed_elsewhere"] == elsewhere, "of equally many the first task's machine counts"
    assert any(
        "timed on several machines, their times are means over them: rte, mrpc." in one for one in found["notes"]
    )
    variants.loc[variants["seed"] == 1, "hardware"] = "Another CPU"
    variants["threads"] = 2
    found = analyse(replace(tables, variants=variants), RESAMPLES)
    assert found["baseline"]["timed_elsewhere"] == {}, "all are mixed"
    assert found["bits"]["4"]["speedup"] is not None


def test_nothing_is_kept_of_tasks_and_studies_that_are_not_planned(settings, tmp_path):
    make_study(load_settings(tmp_path / "before"), tmp_path / "mine")
    old = read_tables(tmp_path / "mine")
    one_task = {**CONFIG, "task": {"source": ["glue:mrpc"]}}
    new = collect(make_sweep(settings, one_task), "mine", "Mine", "")
    assert keep_older(new, old, ["mrpc"]) is new
    other = collect(make_sweep(settings, one_task), "another", "Mine", "")
    assert keep_older(other, old, NAMES) is other
    assert set(keep_older(new, old, NAMES).predictions) == {"mrpc", "rte", "stsb", "wnli"}
