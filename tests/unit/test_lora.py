import copy

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from dqf.models.lora import add_adapters
from tests.support.tiny import write_bert, write_llama


@pytest.fixture(params=["bert", "llama"])
def model(request, tmp_path):
    folder = {"bert": write_bert, "llama": write_llama}[request.param](tmp_path / request.param)
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()


def logits(model):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([[5, 6, 7]]), attention_mask=torch.ones(1, 3, dtype=torch.long)).logits


def trained(model):
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def test_only_adapters_and_head_are_trained_and_merging_leaves_the_plain_model(model):
    names, before = list(model.state_dict()), {name: one.clone() for name, one in model.state_dict().items()}
    first = logits(model)
    merge = add_adapters(model, 4, 8, 0.0, seed=1)
    assert torch.equal(logits(model), first), "adapters begin as nothing"
    found = trained(model)
    head = {name for name in found if "lora_" not in name}
    assert {name.split(".")[-2] for name in head} <= {"score", "classifier", "dense"}
    assert any("score" in name or "classifier" in name for name in head)
    layers, each = (2, 6) if "bert.embeddings.word_embeddings.weight" in names else (4, 7)
    assert len(found) - len(head) == 2 * layers * each
    with torch.no_grad():
        for weight in found.values():
            weight.add_(0.05 * torch.randn_like(weight))
    changed = logits(model)
    assert not torch.allclose(changed, first)
    merge()
    assert list(model.state_dict()) == names
    torch.testing.assert_close(logits(model), changed, atol=1e-5, rtol=1e-4)
    after = model.state_dict()
    table = next(name for name in names if "embeddings.word" in name or "embed_tokens" in name)
    assert torch.equal(after[table], before[table])
    assert not hasattr(model, "peft_config")


def test_the_seed_alone_decides_the_adapters(model):
    def adapters(seed, drawn):
        copy_ = copy.deepcopy(model)
        torch.manual_seed(drawn)
        state = torch.get_rng_state()
        add_adapters(copy_, 4, 8, 0.0, seed)
        assert torch.equal(torch.get_rng_state(), state), "nothing else draws other numbers because of them"
        return [one for name, one in copy_.named_parameters() if "lora_A" in name]

    one, same, other = adapters(1, 0), adapters(1, 5), adapters(2, 0)
    assert all(torch.equal(left, right) for left, right in zip(one, same, strict=True))
    assert not any(torch.equal(left, right) for left, right in zip(one, other, strict=True))
