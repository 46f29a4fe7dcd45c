"""Checkpoints that differ from BERT and Llama in what the engine relies on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from dqf import registry
from dqf.data.tasks import CLASSIFICATION, Examples, Task
from dqf.models.empty import empty_classifier
from dqf.models.loading import load_source
from dqf.progress import SilentReporter
from dqf.quant.model import quantize_model
from dqf.quant.qparams import Granularity
from dqf.quant.work import Method
from dqf.settings import load_settings
from tests.support.tiny import write_bert

NONE = Examples((), None, np.zeros(0, dtype=np.int64))
TASK = Task("t", CLASSIFICATION, ("good", "bad"), "accuracy", NONE, NONE)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that writes a BERT with these names of classes and loads it for the task."""
    monkeypatch.setenv("DQF_MODEL_DIRS", str(tmp_path))

    def loaded(names, padding=0):
        folder = write_bert(tmp_path / "model", id2label=dict(enumerate(names)), pad_token_id=padding)
        return load_source(str(folder), TASK, load_settings(tmp_path / "results"), 0, Path(tmp_path / "scratch"))

    return loaded


@pytest.mark.parametrize(
    ("names", "fine_tuned"),
    [
        (["Bad", "Good"], True),
        (["LABEL_0", "LABEL_1"], True),
        (["0", "1"], True),
        (["neutral", "fact"], False),
    ],
)
def test_a_head_of_other_classes_is_not_that_of_the_task(load, names, fine_tuned):
    found = load(names)
    assert (found.fine_tuned, found.has_head) == (fine_tuned, True)


def test_a_head_of_more_classes_is_none(load):
    found = load(["a", "b", "c"])
    assert (found.fine_tuned, found.has_head) == (False, False)


def deberta():
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, relative_attention=True, position_buckets=8, share_att_key=True,
        pos_att_type=["p2c", "c2p"], type_vocab_size=0, pooler_hidden_size=32, num_labels=2,
    )  # fmt: skip
    return DebertaV2ForSequenceClassification(config).eval(), config


def test_layers_that_run_twice_in_a_block_do_not_hide_those_behind_them():
    model, _ = deberta()
    ids = torch.randint(4, 40, (4, 12), generator=torch.Generator().manual_seed(0))
    entry = registry.get("quantizer", "gptq")
    calibration = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
    method = Method(entry, entry.config(), Granularity(4, 16), None)
    _, receipts = quantize_model(model, method, calibration, SilentReporter())
    inside = [one for one in receipts if ".encoder.layer." in one.name]
    assert len(inside) == 12
    assert all(one.calibration_tokens for one in inside)


def test_an_architecture_without_fused_attention_is_built_without():
    model, config = deberta()
    empty = empty_classifier(config)
    assert {name: one.shape for name, one in empty.state_dict().items()} == {
        name: one.shape for name, one in model.state_dict().items()
    }
