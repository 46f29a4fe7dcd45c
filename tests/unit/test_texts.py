import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dqf.config import RunConfig
from dqf.data.load import load_task
from dqf.data.texts import evaluation_texts
from dqf.errors import UserError
from dqf.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path / "data"))
    return load_settings(tmp_path / "results")


def write_glue(folder, task, columns, n=60):
    folder = folder / "glue" / task
    folder.mkdir(parents=True)
    for split, count in (("train", 2 * n), ("validation", n)):
        rows = {name: [f"{name} {split} {i} “q”\n" for i in range(count)] for name in columns}
        pd.DataFrame({**rows, "label": [i % 2 for i in range(count)]}).to_parquet(folder / f"{split}.parquet")


def config_of(source, **task):
    return RunConfig.from_dict({"task": {"source": source, **task}}).to_dict()


def test_texts_and_pairs_are_those_the_run_was_scored_on(settings):
    write_glue(settings.data_dirs[0], "rte", ("sentence1", "sentence2"))
    config = config_of("glue:rte", eval_rows=40)
    task = load_task(RunConfig.from_dict(config), settings)
    texts = evaluation_texts(config, task.fingerprint(), settings)
    assert texts["text"].tolist() == list(task.evaluation.texts)
    assert texts["pair"].tolist() == list(task.evaluation.pairs)
    assert len(texts) == 40


def test_single_texts_have_empty_pairs(settings):
    write_glue(settings.data_dirs[0], "sst2", ("sentence",))
    config = config_of("glue:sst2")
    texts = evaluation_texts(config, load_task(RunConfig.from_dict(config), settings).fingerprint(), settings)
    assert set(texts["pair"]) == {""}


def test_other_data_is_refused_so_that_texts_cannot_be_mismatched(settings):
    write_glue(settings.data_dirs[0], "sst2", ("sentence",))
    with pytest.raises(UserError, match="must be the run's own"):
        evaluation_texts(config_of("glue:sst2"), "0" * 64, settings)


def test_missing_data_is_a_sentence_and_the_hub_is_not_asked(settings):
    with pytest.raises(UserError, match="set `DQF_DATA_DIR` to a folder"):
        evaluation_texts(config_of("glue:cola"), "0" * 64, settings)


def test_a_config_of_another_version_is_a_sentence(settings):
    with pytest.raises(UserError, match="must be readable by this version"):
        evaluation_texts({"task": {"source": "glue:nope"}}, "", settings)


def test_texts_of_a_committed_run_need_no_data_folder(settings):
    """BBC headlines come with the starter's wheel."""
    found = [json.loads(path.read_text()) for path in (ROOT / "results" / "reference").glob("*/result.json")]
    result = next(one for one in found if one["task"]["name"] == "bbc-headlines")
    texts = evaluation_texts(result["config"], result["task"]["data_sha256"], settings)
    assert len(texts) == result["task"]["eval_n"]


def test_the_caller_imports_no_reader_of_data():
    program = "import sys, dqf.data.texts; print({'torch', 'datasets', 'dqf.data.load'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr[-500:]
