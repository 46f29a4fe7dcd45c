import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from dqf.config import RunConfig
from dqf.data import glue
from dqf.data.load import load_task
from dqf.data.table import columns, load_table, read_table
from dqf.data.tasks import UNLABELLED, Examples, hide_labels, labelled_rows, limit_rows, split_rows, tuning_task
from dqf.errors import UserError
from dqf.sections import TaskConfig
from dqf.settings import load_settings
from tests.support.tiny import write_csv

# Of `write_csv(rows=200)`, as they were before data had a seed of its own: cached stages hang on them.
FINGERPRINT_OF_SEED_0 = "a527a190ae8124d16563a0a080b142dfe600a90bc0626c6ac1d649104d4387bf"
TUNING_FINGERPRINT_OF_SEED_0 = "876edab0f11baaacb0fd0aa00713f405addf8bbe5fa7890e6172acebc0e48a3b"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path))
    return load_settings(tmp_path / "results")


def config_for(path, **task):
    columns = {"text_column": "text", "label_column": "label"}
    return RunConfig.from_dict({"task": {"source": f"file:{path}", **columns, **task}})


def write(tmp_path, name, frame):
    path = tmp_path / name
    if name.endswith(".csv"):
        frame.to_csv(path, index=False)
    elif name.endswith(".jsonl"):
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_own_file_in_every_format(tmp_path, settings, name):
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(200)], "label": ["x", "y"] * 100})
    task = load_task(config_for(write(tmp_path, name, frame)), settings)
    assert task.labels == ("x", "y")
    assert len(task.train) + len(task.evaluation) == 200
    assert not set(task.train.texts) & set(task.evaluation.texts)


def test_flags_and_dates_are_names_of_classes(tmp_path, settings):
    texts = [f"text {i}" for i in range(100)]
    flags = pd.DataFrame({"text": texts, "label": [True, False] * 50})
    for name in ("a.jsonl", "a.parquet"):
        assert load_task(config_for(write(tmp_path, name, flags)), settings).labels == ("False", "True")
    days = pd.DataFrame({"text": texts, "label": pd.to_datetime(["2026-01-01", "2026-01-02"] * 50)})
    task = load_task(config_for(write(tmp_path, "b.parquet", days)), settings)
    assert (task.kind, len(task.labels)) == ("classification", 2)


def test_a_space_more_is_no_other_class(tmp_path, settings):
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(100)], "label": ["pos", "pos ", " neg", "neg"] * 25})
    for name in ("a.csv", "a.parquet"):
        assert load_task(config_for(write(tmp_path, name, frame)), settings).labels == ("neg", "pos")


@pytest.mark.parametrize("rows", ["{0}, really,{1}\n", "{0},{1},\n"])
def test_rows_with_more_cells_than_the_header_are_refused(tmp_path, settings, rows):
    """pandas would take the first cell of each for the name of the row, and train on what stands behind the comma."""
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(rows.format(f"it is {i}", i % 2) for i in range(60)))
    with pytest.raises(
        UserError, match=r"as many cells as the header: a\.csv has more in the first; put texts .* quotes"
    ):
        load_task(config_for(path), settings)


@pytest.mark.parametrize(("classes", "each", "asked"), [(77, 130, 150), (77, 130, 200), (77, 130, 250), (100, 10, 40)])
def test_limits_of_many_classes_are_met_and_lose_no_end(classes, each, asked):
    """The rows lie in the order of their classes, as many files have them."""
    labels = np.repeat(np.arange(classes), each)
    found = limit_rows(Examples(tuple(map(str, range(len(labels)))), None, labels), asked, 0, True)
    assert len(found) == asked
    counts = np.bincount(found.labels, minlength=classes)
    assert counts.max() - counts.min() <= 1


def test_numbers_become_regression_and_pairs_are_kept(tmp_path, settings):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"text": [f"a {i}" for i in range(100)], "b": [f"b {i}" for i in range(100)], "label": rng.random(100) * 5}
    )
    task = load_task(config_for(write(tmp_path, "a.csv", frame), text_pair_column="b"), settings)
    assert task.kind == "regression"
    assert task.outputs == 1
    assert task.train.pairs is not None
    assert task.metric == "pearson_spearman"


@pytest.mark.parametrize(
    ("frame", "task", "message"),
    [
        (pd.DataFrame({"text": ["a", "b"] * 50, "other": [1, 0] * 50}), {}, "no 'label'"),
        (pd.DataFrame({"text": [f"t{i}" for i in range(50)], "label": ["x"] * 50}), {}, "at least 2 different"),
        (pd.DataFrame({"text": [f"t{i}" for i in range(8)], "label": ["x", "y"] * 4}), {}, "at least 10"),
        (pd.DataFrame({"text": [f"t{i}" for i in range(12)], "label": ["x", "y"] * 6}), {}, "at least 20"),
        (pd.DataFrame({"text": [f"t{i}" for i in range(90)], "label": [f"c{i}" for i in range(90)]}), {}, "repeat"),
        (
            pd.DataFrame({"text": [f"t{i}" for i in range(90)], "label": ["1", "x", "2"] * 30}),
            {"target": "number"},
            "numeric in every row",
        ),
    ],
)
def test_unusable_tables_get_one_sentence(tmp_path, settings, frame, task, message):
    with pytest.raises(UserError, match=message) as caught:
        load_task(config_for(write(tmp_path, "a.csv", frame), **task), settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text,label\n", b"\xff\xfe\x00broken", b'text,label\n"a'])
def test_broken_files_get_one_sentence(tmp_path, settings, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_task(config_for(tmp_path / "a.csv"), settings)
    assert "a.csv" in str(caught.value)


def test_files_outside_the_allowed_folders_are_refused(tmp_path, settings, monkeypatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.setenv("DQF_DATA_DIR", str(inside))
    outside = write_csv(tmp_path / "outside.csv")
    (inside / "link.csv").symlink_to(outside)
    allowed = load_settings(tmp_path / "results")
    for path in (outside, inside / ".." / "outside.csv", inside / "link.csv"):
        with pytest.raises(UserError, match="allowed folder"):
            load_task(config_for(path), allowed)


def test_rows_do_not_depend_on_the_seed_and_limits_keep_every_class(tmp_path, settings):
    path = write_csv(tmp_path / "a.csv", 200)
    one = load_task(config_for(path, train_rows=40), settings)
    other = RunConfig.from_dict({**config_for(path, train_rows=40).to_dict(), "seed": 7})
    assert load_task(other, settings).fingerprint() == one.fingerprint()
    assert len(one.train) <= 41
    assert set(one.train.labels) == {0, 1}


def test_the_data_seed_draws_other_rows_and_0_those_of_always(tmp_path, settings):
    path = write_csv(tmp_path / "a.csv", 200)
    found = {seed: load_task(config_for(path, train_rows=40, seed=seed), settings) for seed in (0, 1)}
    assert set(found[0].evaluation.texts) != set(found[1].evaluation.texts)
    assert found[0].fingerprint() != found[1].fingerprint()
    assert found[0].fingerprint() == FINGERPRINT_OF_SEED_0
    tuning = {seed: load_task(config_for(path, split="tuning", seed=seed), settings) for seed in (0, 1)}
    assert set(tuning[0].evaluation.texts) != set(tuning[1].evaluation.texts)
    assert tuning[0].fingerprint() == TUNING_FINGERPRINT_OF_SEED_0


def test_tuning_split_never_touches_reported_rows(tmp_path, settings):
    path = write_csv(tmp_path / "a.csv", 200)
    reported = load_task(config_for(path), settings)
    tuning = load_task(config_for(path, split="tuning"), settings)
    assert not set(tuning.evaluation.texts) & set(reported.evaluation.texts)
    assert set(tuning.evaluation.texts) <= set(reported.train.texts)
    assert not set(tuning.evaluation.texts) & set(tuning.train.texts)


def test_split_is_stratified():
    labels = np.array([0] * 80 + [1] * 20)
    _, held = split_rows(labels, 0.25, True, 0)
    assert (labels[held] == 1).sum() == 5


def test_no_text_stands_on_both_sides_however_it_is_cased_or_spaced(tmp_path, settings):
    texts = [f"text number {i}" for i in range(100)]
    frame = pd.DataFrame({"text": [*texts, *(f" {text.upper()}" for text in texts)], "label": ["x", "y"] * 100})
    task = load_task(config_for(write(tmp_path, "a.csv", frame)), settings)
    kept, held = ({" ".join(text.lower().split()) for text in part.texts} for part in (task.train, task.evaluation))
    assert len(held) == 20
    assert not kept & held


@pytest.mark.parametrize(("questions", "shared"), [(100, False), (10, True)])
def test_first_texts_of_pairs_are_held_out_as_a_whole_where_there_are_enough(tmp_path, settings, questions, shared):
    rows = [(f"question {i % questions}", f"answer {i}", "xy"[i % 2]) for i in range(400)]
    frame = pd.DataFrame(rows, columns=["text", "b", "label"])
    task = load_task(config_for(write(tmp_path, "a.csv", frame), text_pair_column="b"), settings)
    assert len(task.evaluation) == 80
    assert bool(set(task.train.texts) & set(task.evaluation.texts)) is shared
    assert not set(task.train.pairs) & set(task.evaluation.pairs)


def test_whole_pairs_are_held_out_where_first_texts_would_take_a_class_away(tmp_path, settings):
    """A rare class whose rows share one question would stand on one side alone."""
    rows = [(f"question {i % 60}", f"answer {i}", "xy"[i % 2]) for i in range(600)]
    rows += [("question 7", f"rare {i}", "z") for i in range(20)]
    frame = pd.DataFrame(rows, columns=["text", "b", "label"])
    task = load_task(config_for(write(tmp_path, "a.csv", frame), text_pair_column="b"), settings)
    rare = task.labels.index("z")
    assert (task.evaluation.labels == rare).sum() == 4
    assert (task.train.labels == rare).sum() == 16


def write_glue(root, name, columns, labels, splits):
    folder = root / "glue" / name
    folder.mkdir(parents=True)
    for split in splits:
        frame = pd.DataFrame({column: [f"{column} {split} {i}" for i in range(60)] for column in columns})
        frame["label"] = [labels[i % len(labels)] for i in range(60)]
        frame["idx"] = range(60)
        frame.to_parquet(folder / f"{split}.parquet")


@pytest.mark.parametrize(
    ("name", "columns", "labels", "validation", "metric"),
    [
        ("sst2", ["sentence"], [0, 1], "validation", "accuracy"),
        ("mnli", ["premise", "hypothesis"], [0, 1, 2], "validation_matched", "accuracy"),
        ("stsb", ["sentence1", "sentence2"], [0.0, 2.5, 5.0], "validation", "pearson_spearman"),
        ("cola", ["sentence"], [0, 1], "validation", "matthews_corrcoef"),
    ],
)
def test_glue_from_a_folder_in_hub_layout(tmp_path, settings, name, columns, labels, validation, metric):
    write_glue(tmp_path, name, columns, labels, ["train", validation])
    task = load_task(RunConfig.from_dict({"task": {"source": f"glue:{name}"}}), settings)
    assert task.metric == metric
    assert (task.train.pairs is not None) == (len(columns) == 2)
    assert task.outputs == (1 if name == "stsb" else len(labels))
    assert len(task.evaluation) == 60
    assert "Reduced training set" in task.note
    assert "Not GLUE's own validation rows: 60 instead of" in task.note
    assert task.published is None, "published scores are of GLUE's own rows"


def test_glues_own_validation_rows_have_a_published_score(tmp_path, settings, monkeypatch):
    write_glue(tmp_path, "rte", ["sentence1", "sentence2"], [0, 1], ["train", "validation"])
    monkeypatch.setitem(glue.VALIDATION_ROWS, "rte", 60)
    task = load_task(RunConfig.from_dict({"task": {"source": "glue:rte", "eval_rows": 30}}), settings)
    assert task.published == 0.657
    assert "validation" not in task.note


def test_mnli_mismatched_is_an_extra_part_that_changes_no_key(tmp_path, settings):
    config = {"task": {"source": "glue:mnli", "eval_rows": 30}}
    write_glue(tmp_path, "mnli", ["premise", "hypothesis"], [0, 1, 2], ["train", "validation_matched"])
    without = load_task(RunConfig.from_dict(config), settings)
    assert without.extra == {}
    frame = pd.read_parquet(tmp_path / "glue" / "mnli" / "validation_matched.parquet")
    frame.to_parquet(tmp_path / "glue" / "mnli" / "validation_mismatched.parquet")
    task = load_task(RunConfig.from_dict(config), settings)
    assert [(name, len(part)) for name, part in task.extra.items()] == [("mnli-mismatched", 30)]
    assert task.fingerprint() == without.fingerprint()
    assert set(task.extra_fingerprints()) == {"mnli-mismatched"}
    assert tuning_task(task, 0).extra == {}


def test_glue_without_folder_and_hub_says_what_to_do(settings, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with pytest.raises(UserError, match="DQF_DATA_DIR"):
        load_task(RunConfig.from_dict({"task": {"source": "glue:rte"}}), settings)


def test_fewer_labelled_rows_are_among_more_and_keep_their_classes():
    labels = np.array([0] * 90 + [1] * 30)
    examples = Examples(tuple(map(str, range(120))), None, labels)
    few, many = (labelled_rows(examples, count, 3, True) for count in (12, 40))
    assert set(few) < set(many)
    assert (len(few), len(many)) == (12, 40)
    assert [labels[few].tolist().count(one) for one in (0, 1)] == [9, 3]
    assert labelled_rows(examples, 12, 4, True) != few
    assert labelled_rows(examples, 0, 3, True) == labelled_rows(examples, 500, 3, True) == list(range(120))
    hidden = hide_labels(examples, few)
    assert (hidden[few] == labels[few]).all()
    assert (hidden != UNLABELLED).sum() == 12
    scores = dataclasses.replace(examples, labels=labels / 2)
    assert np.isnan(hide_labels(scores, labelled_rows(scores, 12, 3, False))).sum() == 108


def test_cells_that_are_lists_or_objects_are_refused_in_a_sentence(tmp_path, settings):
    path = tmp_path / "nested.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"t {i}", "label": [i % 2]}) for i in range(60)))
    config = {"task": {"source": f"file:{path}", "text_column": "text", "label_column": "label"}}
    with pytest.raises(UserError, match="holds a list or an object in 'label'"):
        load_task(RunConfig.from_dict(config), settings)


def test_names_and_texts_of_json_lines_are_taken_as_they_are_written(tmp_path, settings):
    path = tmp_path / "odd.jsonl"
    rows = [{"2020-01-01": f"00{i}", "": f"1e{i}", "label": i % 2} for i in range(60)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert columns(str(path), settings) == ["2020-01-01", "", "label"]
    config = {"source": f"file:{path}", "text_column": "2020-01-01", "text_pair_column": "", "label_column": "label"}
    task = load_table(TaskConfig(**config), settings)
    assert set(task.train.texts + task.evaluation.texts) == {row["2020-01-01"] for row in rows}


def test_columns_of_a_table_are_named_by_text_and_differ(tmp_path, settings):
    texts = [f"t {i}" for i in range(60)]
    frame = pd.DataFrame({0: texts, 1: ["x", "y"] * 30})
    write(tmp_path, "numbers.parquet", frame)
    config = TaskConfig(source=f"file:{tmp_path / 'numbers.parquet'}", text_column="0", label_column="1")
    assert load_table(config, settings).labels == ("x", "y")
    (tmp_path / "twice.jsonl").write_text("[" + "]\n[".join(json.dumps(text) + ", 1" for text in texts) + "]")
    assert columns(str(tmp_path / "twice.jsonl"), settings) == ["0", "1"]


def test_a_table_with_two_columns_of_one_name_is_refused(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(pd, "read_parquet", lambda path: pd.DataFrame([["a", "b"]], columns=[1, "1"]))
    with pytest.raises(UserError, match=r"names of their own: twice\.parquet has '1' twice"):
        read_table(tmp_path / "twice.parquet")
