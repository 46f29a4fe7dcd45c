"""Texts from elsewhere that the teacher scores: their form, and that reported rows are never among them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from dqf.config import RunConfig
from dqf.data.outside import outside_fingerprint
from dqf.data.tasks import CLASSIFICATION, REGRESSION, UNLABELLED, Examples, Task
from dqf.data.transfer import check_second_texts, transfer_texts
from dqf.errors import ConfigError, UserError
from dqf.sections import DistillationConfig
from dqf.settings import load_settings


def task(pairs=False, kind=CLASSIFICATION):
    def part(name, n):
        seconds = tuple(f"{name} second {i}" for i in range(n)) if pairs else None
        dtype = np.int64 if kind == CLASSIFICATION else np.float64
        return Examples(tuple(f"{name} {i}" for i in range(n)), seconds, np.ones(n, dtype=dtype))

    extra = {"t-more": part("more", 5)}
    return Task("t", kind, ("a", "b"), "accuracy", part("train", 20), part("held", 10), extra=extra)


@pytest.fixture
def settings(tmp_path):
    folder = tmp_path / "glue" / "rte"
    folder.mkdir(parents=True)
    rows = {"sentence1": ["one", "one", "held 3", "two"], "sentence2": ["a", "b", "c", "more 1"], "label": [0, 1, 0, 1]}
    for split in ("train", "validation"):
        pd.DataFrame(rows).to_parquet(folder / f"{split}.parquet")
    return dataclasses.replace(load_settings(tmp_path / "results"), data_dirs=(tmp_path,))


def drawn(config, of, settings, seed=0):
    return transfer_texts(config, of, seed, settings)


def test_a_task_of_two_texts_takes_rows_without_a_reported_text(settings):
    found = drawn(DistillationConfig(transfer="glue:rte"), task(pairs=True), settings)
    assert sorted(zip(found.texts, found.pairs, strict=True)) == [("one", "a"), ("one", "b")]
    assert found.labels.tolist() == [UNLABELLED] * 2


def test_a_task_of_single_texts_takes_each_text_of_two_once(settings):
    found = drawn(DistillationConfig(transfer="glue:rte"), task(), settings)
    assert sorted(found.texts) == ["a", "b", "c", "one", "two"]
    assert found.pairs is None


def test_what_a_folder_holds_is_part_of_what_a_source_is(settings, tmp_path):
    before = outside_fingerprint("glue:rte", settings)
    assert len(before) == 64
    assert outside_fingerprint("glue:rte", settings) == before
    rows = {"sentence1": ["other"], "sentence2": ["text"], "label": [0]}
    pd.DataFrame(rows).to_parquet(tmp_path / "glue" / "rte" / "train.parquet")
    assert outside_fingerprint("glue:rte", settings) != before
    for hub in ("glue:mnli", "c4", "training", "none"):
        assert outside_fingerprint(hub, settings) == ""


def test_labels_of_a_regression_are_unknown_numbers(settings):
    found = drawn(DistillationConfig(transfer="glue:rte"), task(kind=REGRESSION), settings)
    assert found.labels.dtype == np.float64
    assert np.isnan(found.labels).all()


def test_rows_are_drawn_by_seed_and_number(settings, tmp_path):
    pd.DataFrame({"text": [f"own {i}" for i in range(50)] + ["held 1"]}).to_csv(tmp_path / "own.csv", index=False)
    config = DistillationConfig(transfer=f"file:{tmp_path / 'own.csv'}", transfer_rows=8)
    first, again, other = (drawn(config, task(), settings, seed).texts for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == 8
    whole = dataclasses.replace(config, transfer_rows=1000)
    assert "held 1" not in drawn(whole, task(), settings).texts
    assert len(drawn(whole, task(), settings)) == 50


def test_second_texts_come_from_the_column_pair(settings, tmp_path):
    pd.DataFrame({"text": ["x", "y", ""], "pair": ["1", "2", "3"]}).to_csv(tmp_path / "own.csv", index=False)
    source = f"file:{tmp_path / 'own.csv'}"
    check_second_texts(source, settings)
    found = drawn(DistillationConfig(transfer=source), task(pairs=True), settings)
    assert sorted(zip(found.texts, found.pairs, strict=True)) == [("x", "1"), ("y", "2")]


def test_a_column_of_second_texts_is_full_or_empty(settings, tmp_path):
    source = f"file:{tmp_path / 'own.csv'}"
    pd.DataFrame({"text": ["x", " y ", " "], "pair": ["", " ", "left"]}).to_csv(tmp_path / "own.csv", index=False)
    found = drawn(DistillationConfig(transfer=source), task(), settings)
    assert sorted(found.texts) == [" y ", "x"], "no text is lost for want of a second one, nor changed"
    assert found.pairs is None
    pd.DataFrame({"text": ["x", "y", "z"], "pair": ["1", "", None]}).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(UserError, match=r"in every row or in none: own\.csv has 2 rows of 3 without"):
        drawn(DistillationConfig(transfer=source), task(), settings)


@pytest.mark.parametrize("source", ["glue:sst2", "c4", "file:{}/own.csv"])
def test_single_texts_are_no_rows_of_a_task_of_two(settings, tmp_path, source):
    pd.DataFrame({"text": ["x", "y"]}).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(UserError, match="must have two as well"):
        check_second_texts(source.format(tmp_path), settings)


def test_a_file_of_single_texts_is_refused_for_pairs_when_it_is_read_too(settings, tmp_path):
    pd.DataFrame({"text": ["x", "y"]}).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(UserError, match="must have two as well"):
        drawn(DistillationConfig(transfer=f"file:{tmp_path / 'own.csv'}"), task(pairs=True), settings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"transfer": "glue:mnly"}, "did you mean .glue:mnli"),
        ({"transfer": "file:notes.txt"}, "must be one of"),
        ({"transfer": "c4", "transfer_rows": 0}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused_before_work_starts(given, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict({"distillation": given})


def test_the_model_card_says_what_the_teacher_scored():
    from dqf.exporting.card import _learnt_from

    plain = dataclasses.asdict(DistillationConfig())
    assert _learnt_from(plain) == ""
    more = _learnt_from(plain | {"altered_copies": 4, "transfer": "glue:mnli", "transfer_rows": 500})
    assert _learnt_from(plain | {"teachers": 3}) == "; the average of 3 teachers"
    assert more == "; 4 altered copies of each training row; up to 500 texts of glue:mnli, without their labels"


def test_the_model_card_says_how_many_labels_were_seen():
    from dqf.exporting.card import _data

    task = {"name": "sst2", "train_n": 10000, "note": None}
    assert _data(task, 0) == "sst2: 10000 rows to learn from."
    assert _data(task, 300) == "sst2: 10000 rows to learn from, the labels of 300 of them."
