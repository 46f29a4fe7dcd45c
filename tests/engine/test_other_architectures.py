"""Checkpoints that differ from BERT and Llama in what the engine relies on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    SqueezeBertConfig,
    SqueezeBertForSequenceClassification,
    XLMConfig,
    XLMForSequenceClassification,
)

from dqf import registry
from dqf.config import RunConfig
from dqf.data.tasks import CLASSIFICATION, Examples, Task
from dqf.errors import UserError
from dqf.models.empty import empty_classifier
from dqf.models.loading import load_source
from dqf.models.streaming import StreamedModel
from dqf.pipeline import make_models
from dqf.progress import SilentReporter
from dqf.quant.model import quantize_model
from dqf.quant.qparams import Granularity
from dqf.quant.work import Method
from dqf.settings import load_settings
from dqf.stages._suitable import refuse_unsuitable_student
from tests.support.tiny import tiny_config, write_bert, write_tokenizer

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


SIZES = {"vocab_size": 64, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_labels": 2}


def quantized(model, source=None):
    """Return weights and receipts of a model quantized by GPTQ to 4 bits in groups of 16."""
    ids = torch.randint(4, 40, (4, 12), generator=torch.Generator().manual_seed(0))
    entry = registry.get("quantizer", "gptq")
    calibration = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
    method = Method(entry, entry.config(), Granularity(4, 16), None)
    return quantize_model(model, method, calibration, SilentReporter(), source=source)


def test_layers_that_run_twice_in_a_block_do_not_hide_those_behind_them():
    model, _ = deberta()
    _, receipts = quantized(model)
    inside = [one for one in receipts if ".encoder.layer." in one.name]
    assert len(inside) == 12
    assert all(one.calibration_tokens for one in inside)


def test_an_architecture_without_fused_attention_is_built_without():
    model, config = deberta()
    empty = empty_classifier(config)
    assert {name: one.shape for name, one in empty.state_dict().items()} == {
        name: one.shape for name, one in model.state_dict().items()
    }


def test_blocks_that_run_again_are_quantized_alike_from_a_folder(tmp_path):
    torch.manual_seed(0)
    config = AlbertConfig(**SIZES, embedding_size=16, num_hidden_layers=3, attn_implementation="eager")
    model = AlbertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    source = StreamedModel(tmp_path, torch.device("cpu"))
    weights, receipts = quantized(source.model, source)
    plain, expected = quantized(model)
    assert receipts == expected
    assert all(torch.equal(weights[name].codes, one.codes) for name, one in plain.items())


def test_tables_of_biases_per_head_stay_as_they_are():
    torch.manual_seed(0)
    model = MPNetForSequenceClassification(MPNetConfig(**SIZES, num_hidden_layers=2)).eval()
    before = model.mpnet.encoder.relative_attention_bias.weight.clone()
    weights, receipts = quantized(model)
    assert all(one.calibration_tokens for one in receipts if one.kind == "linear")
    left = {name for name, one in model.named_parameters() if one.ndim > 1} - weights.keys()
    assert left == {"mpnet.encoder.relative_attention_bias.weight"}
    assert torch.equal(model.mpnet.encoder.relative_attention_bias.weight, before)


def test_a_student_that_cannot_be_quantized_is_refused_before_its_teacher_is_trained(settings, tiny_root, monkeypatch):
    folder = tiny_root / "squeeze"
    SqueezeBertForSequenceClassification(
        SqueezeBertConfig(**SIZES, embedding_size=32, num_hidden_layers=2)
    ).save_pretrained(folder)
    write_tokenizer(folder, bert=True)
    monkeypatch.setattr("dqf.stages.teacher.load_source", lambda *_: pytest.fail("the teacher was loaded"))
    config = RunConfig.from_dict(tiny_config(tiny_root, student={"model": str(folder)}))
    with pytest.raises(UserError, match=r"blocks must consist of linear layers: in SqueezeBert.* they hold 0%"):
        make_models(config, settings.results_dir, settings, SilentReporter())


def test_layers_whose_parts_stand_in_lists_of_their_own_are_refused():
    """XLM keeps attention, feed-forward and norms apart: the longest list alone would be taken for its blocks."""
    model = XLMForSequenceClassification(XLMConfig(vocab_size=64, emb_dim=32, n_layers=2, n_heads=2, num_labels=2))
    with pytest.raises(UserError, match="XLMForSequenceClassification keeps the parts of its layers in 4 lists"):
        refuse_unsuitable_student(model, RunConfig())


@pytest.mark.parametrize("short", ["teacher", "student"])
def test_texts_that_a_models_positions_do_not_reach_are_refused_before_anything_is_trained(
    settings, tiny_root, monkeypatch, short
):
    monkeypatch.setattr("dqf.stages.teacher.train", lambda *_: pytest.fail("the teacher is trained"))
    folder = write_bert(tiny_root / "short")  # 64 positions; of a hub id the same is known of its config
    student = {"model": "teacher-layers", "keep_layers": "1"} if short == "teacher" else {"model": str(folder)}
    models = {"student": student} | ({"teacher": {"model": str(folder)}} if short == "teacher" else {})
    config = RunConfig.from_dict(tiny_config(tiny_root, task={"max_length": 65}, **models))
    with pytest.raises(UserError, match=r"`task.max_length` must fit the models: .*short takes 64 tokens, got 65"):
        make_models(config, settings.results_dir, settings, SilentReporter())


def test_what_is_trained_answers_with_the_tasks_classes(load):
    assert load(["neutral", "fact"]).config.id2label == {0: "good", 1: "bad"}
    assert load(["a", "b", "c"]).config.label2id == {"good": 0, "bad": 1}


def test_rows_that_a_group_size_does_not_divide_are_refused_before_the_teacher_is_trained(
    settings, tiny_root, monkeypatch
):
    """Which rows a model has beyond those that its config names is seen in its architecture."""
    folder = tiny_root / "narrow"
    AlbertForSequenceClassification(AlbertConfig(**SIZES, embedding_size=24, num_hidden_layers=2)).save_pretrained(
        folder
    )
    write_tokenizer(folder, bert=True)
    monkeypatch.setattr("dqf.stages.teacher.load_source", lambda *_: pytest.fail("the teacher was loaded"))
    config = RunConfig.from_dict(tiny_config(tiny_root, student={"model": str(folder)}))
    with pytest.raises(UserError, match=r"must all be divisible by `group_size`: got 24, 32 and 64, and 16"):
        make_models(config, settings.results_dir, settings, SilentReporter())
