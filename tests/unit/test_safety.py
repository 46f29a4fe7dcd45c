"""Attacks by files, paths and texts, each tried for real."""

import json
import os
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

from dqf.data.table import table_path
from dqf.errors import UserError
from dqf.jobs import protocol
from dqf.jobs.protocol import EventLog, read_events
from dqf.jobs.views import tail_log
from dqf.models.catalog import read_shape
from dqf.redact import HIDDEN, redact
from dqf.settings import confine, load_settings
from dqf.ui import format as fmt
from tests.support.example_runs import write_example_run


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch /tmp/dqf-was-here",)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed-not").mkdir()
    monkeypatch.setenv("DQF_MODEL_DIRS", str(tmp_path / "allowed"))
    monkeypatch.setenv("DQF_DATA_DIR", str(tmp_path / "allowed"))
    monkeypatch.chdir(tmp_path / "allowed")
    return load_settings(tmp_path / "results")


@pytest.fixture
def model(tmp_path, settings):
    folder = tmp_path / "allowed" / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1}))
    save_file({"weight": np.zeros((2, 2), np.float16)}, folder / "model.safetensors")
    return folder


def refused(model, settings, match):
    with pytest.raises(UserError, match=match) as caught:
        read_shape(str(model), settings)
    assert "\n" not in str(caught.value)


def test_a_good_model_is_taken_and_pickles_beside_it_are_never_read(model, settings):
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    assert read_shape(str(model), settings).hidden == 8


@pytest.mark.parametrize("content", [pickle.dumps(Bomb()), b"PK\x03\x04" + bytes(200), b"", b"\xff" * 40, b"<html>"])
def test_renamed_pickles_and_other_files_are_not_safetensors(model, settings, content):
    (model / "model.safetensors").write_bytes(content)
    refused(model, settings, "must hold safetensors")


def test_a_truncated_file_and_a_lying_header_are_refused(model, settings):
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[:-1])
    refused(model, settings, "cut short")
    (model / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + whole[8:])
    refused(model, settings, "must hold safetensors")


def test_nested_pickles_do_not_count_as_weights(model, settings):
    (model / "model.safetensors").unlink()
    (model / "deep" / "er").mkdir(parents=True)
    (model / "deep" / "er" / "weights.pkl").write_bytes(pickle.dumps(Bomb()))
    refused(model, settings, "deep/er/weights.pkl, a pickle")


@pytest.mark.parametrize(
    "part", ["../../etc/x.safetensors", "/etc/x.safetensors", "pytorch_model.bin", "a/b.safetensors"]
)
def test_an_index_cannot_name_pickles_or_files_elsewhere(model, settings, part):
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": part}}))
    refused(model, settings, "must be .safetensors files beside it")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"text_config": {"auto_map": {"AutoConfig": "other/repo--evil.Config"}}},
        {"a": [{"b": {"custom_pipelines": {"x": {"impl": "evil.P"}}}}]},
    ],
)
def test_remote_code_is_refused_however_deep(model, settings, file, config):
    (model / file).write_text(json.dumps({"model_type": "bert", **config}))
    refused(model, settings, "code of its own")


def test_json_that_is_none_or_too_deep_is_one_sentence(model, settings):
    (model / "tokenizer_config.json").write_text("[" * 100_000)
    refused(model, settings, "must be readable JSON")


def test_adapters_which_would_fetch_another_model_are_refused(model, settings):
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/else"}))
    refused(model, settings, "must be whole")


def test_links_may_lead_within_the_allowed_folders_only(model, settings, tmp_path):
    (model / "model.safetensors").rename(model.parent / "blob")
    (model / "model.safetensors").symlink_to(model.parent / "blob")
    assert read_shape(str(model), settings)
    (model / "vocab.txt").symlink_to("/etc/passwd")
    refused(model, settings, "may not link")


@pytest.mark.parametrize(
    "given",
    [
        "/etc/passwd",
        "../allowed-not/x.csv",
        "x/../../allowed-not/x.csv",
        "/proc/self/environ",
        "~root/x.csv",
        "/dev/zero",
    ],
)
def test_paths_outside_the_roots_are_refused(settings, tmp_path, given):
    (tmp_path / "allowed-not" / "x.csv").write_text("a")
    with pytest.raises(UserError, match="allowed folder"):
        table_path(given, settings)


@pytest.mark.parametrize("given", ["a\0.csv", "x" * 5000 + ".csv", "~nobody-here/x.csv"])
def test_paths_that_are_none_are_one_sentence(settings, given):
    with pytest.raises(UserError, match=r"must be a path|allowed folder"):
        table_path(given, settings)


def test_links_devices_and_pipes_inside_a_root_are_refused(settings, tmp_path):
    root = tmp_path / "allowed"
    (tmp_path / "allowed-not" / "x.csv").write_text("a")
    (root / "link.csv").symlink_to(tmp_path / "allowed-not" / "x.csv")
    (root / "zero.csv").symlink_to("/dev/zero")
    (root / "loop.csv").symlink_to(root / "loop.csv")
    os.mkfifo(root / "pipe.csv")
    for name, words in (
        ("link.csv", "allowed folder"),
        ("zero.csv", "allowed folder"),
        ("loop.csv", "must be a path|must exist"),
        ("pipe.csv", "a device or pipe"),
    ):
        with pytest.raises(UserError, match=words):
            confine(root / name, [root], "a data file", "DQF_DATA_DIR")


def test_no_secret_reaches_events_or_the_shown_log(tmp_path, settings, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "correct-horse-battery")
    monkeypatch.setenv("HOME_PAGE", "not-a-secret-value")
    run = write_example_run(settings.runs_dir, state=protocol.RUNNING)
    log = EventLog(run)
    token = "hf_" + "a" * 30
    log.append("message", text=f"GET https://me:pass1234@host/x?k=correct-horse-battery {token} not-a-secret-value")
    written = (run / "events.jsonl").read_text()
    for secret in ("correct-horse-battery", token, "me:pass1234"):
        assert secret not in written
    assert "not-a-secret-value" in written
    assert list(read_events(run))[-1].text.count(HIDDEN) == 3
    (run / "worker.log").write_text(f"Authorization: Bearer abcdefghijklmnop123 {token}\nloss 0.5")
    shown = tail_log(run)
    assert token not in shown
    assert "abcdefghijklmnop123" not in shown
    assert "loss 0.5" in shown


def test_ordinary_texts_keep_every_character():
    text = "loss 0.123 https://huggingface.co/org/name step 10/20 sha256 0f3a, task-name: x@y"
    assert redact(text) == text


def test_labels_that_are_markdown_are_escaped():
    assert fmt.plain("![x](http://a/b.png) <b>") == r"!\[x\](http\://a/b.png) \<b\>"
    assert fmt.plain("GPTQ 4") == "GPTQ 4"
