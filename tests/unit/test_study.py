"""Studies on made-up runs: what is collected, what is said, and whether it can be computed again."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score
from statsmodels.stats.proportion import proportion_confint

from dqf import cli
from dqf.errors import UserError
from dqf.settings import load_settings
from dqf.study.check import check, count_values, differences
from dqf.study.collect import bits_of, collect
from dqf.study.command import describe
from dqf.study.files import read_summary, study_folders, write_study, write_summary
from tests.support.example_studies import CONFIG, make_study, make_sweep
from tests.support.example_study import ERRORS, MS, finish_run

COLUMNS = {"text_column": "text", "label_column": "label"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path / "results")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    make_study(load_settings(root / "results"), root / "mine")
    return root / "mine"


@pytest.fixture(scope="module")
def summary(folder):
    return read_summary(folder)


def predictions(folder, task, variant, bits="16"):
    frame = pd.read_parquet(folder / "predictions" / f"{task}.parquet")
    return frame[(frame["variant"] == variant) & (frame["bits"] == bits)]


def test_macro_figures_follow_from_the_predictions(folder, summary):
    headline = summary["bits"][summary["headline_bits"]]
    assert (summary["headline_bits"], list(summary["bits"]), summary["seeds"]) == ("4", ["8", "4"], [0, 1])
    scores, teachers = {}, {}
    for task, metric in (("rte", accuracy_score), ("mrpc", f1_score), ("wnli", accuracy_score)):
        by_seed = predictions(folder, task, "student-dqf", "4").groupby("seed")
        scores[task] = np.mean([metric(part["label"], part["prediction"]) for _, part in by_seed])
        teacher = predictions(folder, task, "teacher")
        teachers[task] = metric(teacher["label"], teacher["prediction"])
    rows = {row["task"]: row for row in headline["tasks"]}
    for task, score in scores.items():
        assert rows[task]["score"] == pytest.approx(score)
        assert rows[task]["retention"] == pytest.approx(score / teachers[task])
    stsb = [
        (part["label"].corr(part["prediction"]) + part["label"].corr(part["prediction"], "spearman")) / 2
        for _, part in predictions(folder, "stsb", "student-dqf", "4").groupby("seed")
    ]
    assert rows["stsb"]["score"] == pytest.approx(np.mean(stsb))
    (accuracy,) = rows["mrpc"]["further"]
    mrpc = predictions(folder, "mrpc", "student-dqf", "4").groupby("seed")
    right = np.mean([accuracy_score(part["label"], part["prediction"]) for _, part in mrpc])
    assert (accuracy["metric"], accuracy["score"]) == ("accuracy", pytest.approx(right))
    assert accuracy["score_ci95_low"] < accuracy["score"] < accuracy["score_ci95_high"]
    apart = {one["metric"]: one["score"] for one in rows["stsb"]["further"]}
    assert list(apart) == ["pearson", "spearman"]
    assert np.mean(list(apart.values())) == pytest.approx(rows["stsb"]["score"])
    assert rows["rte"]["further"] == []
    assert headline["score"] == pytest.approx(np.mean([row["score"] for row in rows.values()]))
    assert headline["retention"] == pytest.approx(headline["score"] / headline["teacher_score"])
    assert headline["retention_ci95_low"] < headline["retention"] < headline["retention_ci95_high"]
    without = [row["score"] for task, row in rows.items() if task != "wnli"]
    assert headline["without_wnli"]["score"] == pytest.approx(np.mean(without))
    assert (headline["n"], headline["seeds"]) == (480, [0, 1])
    assert headline["seed_scores"] == pytest.approx(
        [np.mean([row["seed_scores"][s] for row in rows.values()]) for s in (0, 1)]
    )


def test_sizes_and_speeds_follow_from_the_tables(folder, summary):
    variants = pd.read_parquet(folder / "variants.parquet")
    sizes = variants.groupby(["variant", "bits"])["size_bytes"].mean()
    block = summary["bits"]["8"]
    assert block["compression_ratio"] == pytest.approx(sizes["teacher", "16"] / sizes["student-dqf", "8"])
    latency = pd.read_parquet(folder / "latency.parquet")
    for session, name in (("fastest", "speedup"), ("shared", "speedup_shared")):
        medians = latency[latency["session"] == session].groupby(["variant", "bits", "task", "seed"])["ms"].median()
        ratios = np.log(medians["teacher", "16"]) - np.log(medians["student-dqf", "8"])
        assert block[name] == pytest.approx(np.exp(ratios.mean()))
        assert block[f"{name}_ci95_low"] < block[name] < block[f"{name}_ci95_high"]
        assert block[name] == pytest.approx(MS["teacher"] / MS["student-dqf"], rel=0.02)
    assert block["runtimes"] == ["openvino-int8"]
    assert summary["baseline"]["runtimes"] == ["openvino-bf16"]


def test_verdicts_totals_flips_and_flags_are_there(summary):
    assert list(summary["verdicts"]) == ["H1", "H2", "H3"]
    for group in summary["verdicts"].values():
        assert [one["bits"] for one in group] == ["8", "4", "all"]
    assert summary["bits"]["4"]["verdicts"]["H1"] == summary["verdicts"]["H1"][1]
    assert summary["total"]["verdicts"]["H3"] == summary["verdicts"]["H3"][-1]
    both = [summary["bits"][bits] for bits in ("8", "4")]
    assert summary["total"]["score"] == pytest.approx(np.mean([one["score"] for one in both]))
    assert summary["total"]["compression_ratio"] == pytest.approx(
        np.sqrt(both[0]["compression_ratio"] * both[1]["compression_ratio"])
    )
    rows = {row["task"]: row for row in both[1]["tasks"]}
    assert rows["stsb"]["flips"] is None
    flips = rows["rte"]["flips"]
    assert flips["n"] == 240
    assert flips["net"] == flips["wrong_to_right"] - flips["right_to_wrong"]
    assert flips["cohens_g"] == flips["wrong_to_right"] / (flips["wrong_to_right"] + flips["right_to_wrong"]) - 0.5
    assert flips["net"] / 240 == pytest.approx(rows["rte"]["difference"])
    assert len(rows["rte"]["mcnemar_p_values"]) == 2
    parts = both[1]["decomposition"]
    names = ("smaller_student", "distillation", "quantization", "interaction")
    assert sum(parts[name]["value"] for name in names) == pytest.approx(parts["total"]["value"])
    assert [one["system"] for one in summary["variants"]] == [
        "teacher", "student-ft", "student-kd", "student-ptq@8", "student-dqf@8", "student-ptq@4", "student-dqf@4",
    ]  # fmt: skip
    assert summary["variants"][0]["retention"] == summary["variants"][0]["speedup"] == 1.0


def test_tables_are_compact_and_hold_no_text(folder):
    frame = pd.read_parquet(folder / "predictions" / "rte.parquet")
    assert list(frame.columns) == [
        "condition",
        "task",
        "seed",
        "variant",
        "bits",
        "idx",
        "label",
        "prediction",
        "logits",
    ]
    assert frame.groupby("variant").size().to_dict() == {
        "teacher": 120, "student-ft": 240, "student-kd": 240, "student-ptq": 480, "student-dqf": 480,
    }  # fmt: skip
    assert (frame["label"].dtype, frame["prediction"].dtype) == (np.int8, np.int8)
    assert frame["logits"][0].dtype == np.float16
    types = duckdb.sql(
        f"DESCRIBE SELECT * FROM read_parquet('{folder}/predictions/*.parquet', union_by_name=true)"
    ).df()
    assert types.set_index("column_name")["column_type"]["logits"] == "FLOAT[]"
    count = duckdb.sql(f"SELECT count(*) FROM read_parquet('{folder}/predictions/*.parquet', union_by_name=true)")
    assert count.fetchall() == [(4 * 13 * 120,)]
    stored = predictions(folder, "stsb", "student-dqf", "4")
    assert np.array_equal(stored["prediction"].astype(np.float32), np.stack(stored["logits"])[:, 0])


def test_every_value_can_be_computed_again(folder, summary):
    assert check(folder) == []
    assert count_values(summary) > 1000


@pytest.mark.parametrize(
    "place", [("bits", "4", "retention"), ("total", "speedup"), ("bits", "8", "tasks", 1, "score")]
)
def test_a_changed_value_is_found_and_named(folder, summary, tmp_path, place):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", folder, copy], check=True)
    changed = json.loads(json.dumps(summary))
    part = changed
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] += 1e-6
    write_summary(copy, changed)
    (found,) = check(copy)
    assert found.startswith(".".join(str(one) for one in place).replace(".1.", "[1].").split("[")[0])


def test_changed_predictions_are_found(folder, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", folder, copy], check=True)
    frame = pd.read_parquet(copy / "predictions" / "rte.parquet")
    at = frame.index[(frame["variant"] == "student-dqf") & (frame["bits"] == "4")][0]
    frame.loc[at, "prediction"] = 1 - frame.loc[at, "prediction"]
    frame.to_parquet(copy / "predictions" / "rte.parquet")
    assert any(".score" in one for one in check(copy))
    (copy / "latency.parquet").unlink()
    with pytest.raises(UserError, match="must hold its tables"):
        check(copy)


def test_differences_tell_types_and_missing_keys_apart():
    assert differences({"a": 1.0, "b": [1, 2]}, {"a": 1.0 + 1e-12, "b": [1, 2]}) == []
    assert differences({"a": True}, {"a": 1}) != []
    assert differences({"a": None}, {"a": 0.0}) != []
    assert differences({"a": [1]}, {"a": [1, 2]}) != []
    assert differences({"a": 1}, {"b": 1}) == [".a: only in the file", ".b: missing in the file"]


def test_what_else_was_varied_becomes_conditions(settings, tmp_path):
    config = {"task": {"source": ["glue:rte"]}, "distillation": {"options": {"temperature": [1, 4]}}}
    found = make_study(settings, tmp_path / "t", config)
    assert [one["condition"] for one in found["conditions"]] == ["temperature=1.0", "temperature=4.0"]
    assert found["conditions"][1]["settings"] == {"distillation.options.temperature": 4.0}
    assert found["condition"] == "temperature=1.0"
    assert found["bits"] == found["conditions"][0]["bits"]
    assert check(tmp_path / "t") == []


def test_seeds_with_different_teachers_are_refused(settings):
    sweep = make_sweep(settings, leave_out=lambda run: run.config.seed == 1)
    for entry in sweep.entries:
        if entry.run.config.seed == 1:
            finish_run(sweep.queue(entry), entry.run.config, teacher_seed=1)
    with pytest.raises(UserError, match="share their teacher"):
        collect(sweep, "mine", "", "")


def test_names_of_bit_widths():
    assert bits_of({"quantizer": None, "variant_id": "student-kd"}) == "16"
    assert bits_of({"quantizer": "gptq", "variant_id": "student-dqf-gptq-4bit"}) == "4"
    assert bits_of({"quantizer": "gptq", "variant_id": "student-dqf-gptq-mixed3.5bit"}) == "mixed3.5"


def test_the_command_analyses_shows_and_checks(settings, tmp_path, capsys):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"title": "Mine", "config": CONFIG}))
    make_sweep(settings)
    place = ["--results-dir", str(settings.results_dir)]
    assert cli.main(["study", str(file), "--analyse", *place]) == 0
    out = capsys.readouterr().out
    assert "student-dqf@4" in out
    assert "H3  " in out
    folder = settings.results_dir / "studies" / "mine"
    assert study_folders(settings) == [folder]
    assert cli.main(["study", str(folder), "--check", *place]) == 0
    assert "follow from the tables" in capsys.readouterr().out
    found = read_summary(folder)
    write_summary(folder, {**found, "n": found["n"] + 1})
    assert cli.main(["study", str(file), "--check", *place]) == 1
    assert "n: 481 in the file, 480 from the tables" in capsys.readouterr().out
    assert cli.main(["study", "refrence", *place]) == 2
    assert cli.main(["study", "results/refrence", "--check", *place]) == 2
    assert "`--check` takes a study's folder" in capsys.readouterr().err


def test_an_analysis_that_is_stopped_leaves_the_study_as_it_was(settings, tmp_path):
    before = make_study(settings, tmp_path / "mine", leave_out=lambda run: run.config.seed == 1)
    files = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}

    def stopped(tables):
        assert len(tables.study["runs"]) == 8
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_study(tmp_path / "mine", collect(make_sweep(settings), "mine", "Mine", ""), stopped)
    assert files == {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    assert read_summary(tmp_path / "mine") == before
    assert check(tmp_path / "mine") == []


def test_own_files_of_one_name_are_refused_before_anything_is_trained(settings, tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.csv").write_text("text,label\n")
    sources = [f"file:{tmp_path / folder / 'train.csv'}" for folder in ("a", "b")]
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"config": {"task": {"source": sources, **COLUMNS}}}))
    assert cli.main(["study", str(file), "--results-dir", str(settings.results_dir)]) == 2
    assert "are both called train; rename one of the files" in capsys.readouterr().err


def test_a_teacher_that_answers_nothing_right_has_no_retention(settings, tmp_path):
    """Its score is what others are divided by."""
    config = {"task": {"source": ["glue:cola"]}, "quantization": {"bits": [4]}}
    found = make_study(settings, tmp_path / "mine", config, errors={**ERRORS, "teacher": 0.7})
    headline = found["bits"]["4"]
    assert headline["teacher_score"] < 0
    shares = ("retention", "retention_ci95_low", "retention_examples_ci95_high")
    assert [headline[name] for name in shares] == [None, None, None]
    assert headline["tasks"][0]["retention"] is None
    assert describe(found).count(" -  ") >= 5
    assert check(tmp_path / "mine") == []


def test_the_accuracy_of_one_model_has_wilsons_interval(folder, summary):
    rows = {
        (one["system"], row["task"]): row
        for one in summary["variants"]
        for row in one["tasks"]
        if row["metric"] == "accuracy"
    }
    teacher = rows["teacher", "rte"]
    frame = predictions(folder, "rte", "teacher")
    right = int((frame["label"] == frame["prediction"]).sum())
    expected = proportion_confint(right, len(frame), method="wilson")
    assert (teacher["score_ci95_low"], teacher["score_ci95_high"]) == pytest.approx(expected)
    assert teacher["score_ci_method"] == "wilson"
    assert rows["student-kd", "rte"]["score_ci_method"] == "bootstrap", "of two seeds"


def test_every_key_is_documented(summary):
    text = (ROOT / "docs" / "result-schema.md").read_text()
    block = summary["bits"]["4"]
    keys = {*summary, *block, *block["tasks"][0], *block["verdicts"]["H1"], *block["decomposition"]}
    plain = {key for key in keys if not key.endswith(("_low", "_high"))}
    assert [key for key in sorted(plain) if f"`{key}`" not in text] == []


COMMITTED = [path.parent for path in sorted((ROOT / "results" / "reference").glob("**/summary.json"))]


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_committed_studies_follow_from_their_tables(folder):
    assert check(folder) == []
    for path in folder.glob("predictions/*.parquet"):
        assert set(pd.read_parquet(path).columns) <= {
            "condition", "task", "seed", "variant", "bits", "idx", "label", "prediction", "logits",
        }  # fmt: skip


def test_studies_need_no_torch():
    code = "import sys, dqf.study.command; print(sorted({'torch', 'transformers', 'streamlit'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
