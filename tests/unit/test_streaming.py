"""A model quantized block by block from its folder becomes what it becomes in memory."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from dqf import registry
from dqf.errors import UserError
from dqf.models.streaming import StreamedModel
from dqf.progress import SilentReporter
from dqf.quant.model import Scope, quantize_model
from dqf.quant.qparams import Granularity
from dqf.quant.work import Method
from tests.support.tiny import write_bert, write_llama

CPU = torch.device("cpu")


def classifier_folder(root, kind):
    """Write a random classifier of 3 classes as a run would."""
    source = write_llama(root / "base") if kind == "llama" else write_bert(root / "base")
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=3, dtype=torch.float32)
    model.config.pad_token_id = 0
    model.save_pretrained(root / "model")
    return root / "model"


def batches(kind):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 60, (8, 12), generator=generator)
    mask = torch.ones_like(ids)
    mask[:3, 9:] = 0
    batch = {"input_ids": ids * mask, "attention_mask": mask}
    return [batch | ({"token_type_ids": torch.zeros_like(ids)} if kind == "bert" else {})]


def quantize(model, kind, source=None, name="gptq"):
    entry = registry.get("quantizer", name)
    method = Method(entry, entry.config(), Granularity(4, 16))
    return quantize_model(model, method, batches(kind), SilentReporter(), Scope(), source)


@pytest.mark.parametrize("kind", ["llama", "bert"])
@pytest.mark.parametrize("name", ["gptq", "rtn"])
def test_codes_and_receipts_are_the_same(tmp_path, kind, name):
    folder = classifier_folder(tmp_path, kind)
    whole = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    expected, receipts = quantize(whole, kind, name=name)
    source = StreamedModel(folder, CPU)
    found, streamed = quantize(source.model, kind, source, name)
    assert found.keys() == expected.keys()
    for weight in expected:
        assert torch.equal(found[weight].codes, expected[weight].codes), weight
        assert torch.equal(found[weight].scale, expected[weight].scale), weight
    assert [one.to_dict() for one in streamed] == [one.to_dict() for one in receipts]


def test_blocks_are_empty_but_while_they_are_entered(tmp_path):
    folder = classifier_folder(tmp_path, "llama")
    source = StreamedModel(folder, CPU)
    blocks = source.model.model.layers
    assert all(weight.is_meta for block in blocks for weight in block.parameters())
    assert not any(weight.is_meta for weight in source.model.score.parameters())
    with source.block(1):
        assert not any(weight.is_meta for weight in blocks[1].parameters())
        assert all(weight.is_meta for weight in blocks[0].parameters())
    assert all(weight.is_meta for block in blocks for weight in block.parameters())


def test_a_missing_weight_is_named_and_a_broken_one_refused_before_work(tmp_path):
    folder = classifier_folder(tmp_path, "llama")
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.2.mlp.up_proj.weight"
    save_file({n: w for n, w in weights.items() if n != name}, folder / "model.safetensors")
    source = StreamedModel(folder, CPU)
    with pytest.raises(UserError, match=name), source.block(2):
        pass
    save_file(weights | {name: torch.full_like(weights[name], float("nan"))}, folder / "model.safetensors")
    source = StreamedModel(folder, CPU)
    with pytest.raises(UserError, match="must be finite"):
        quantize(source.model, "llama", source)


def test_weights_in_several_files_are_found(tmp_path):
    folder = classifier_folder(tmp_path, "llama")
    whole = StreamedModel(folder, CPU)
    AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(
        tmp_path / "parts", max_shard_size="20KB"
    )
    parts = StreamedModel(tmp_path / "parts", CPU)
    assert sorted(parts.names()) == sorted(whole.names())
    assert len(set(parts._files.values())) > 1
    for name in whole.names():
        assert torch.equal(parts.tensor(name), whole.tensor(name))
