"""Engines from outside, on a small Llama classifier: what they make, what they must leave alone."""

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from dqf import registry
from dqf.config import RunConfig
from dqf.errors import ConfigError
from dqf.progress import SilentReporter
from dqf.quant.engines import refuse, token_blocks
from dqf.quant.model import Scope, quantize_model
from dqf.quant.qparams import Granularity
from dqf.quant.work import Method
from tests.support.extras import lacking, marks

ENGINES = [entry for entry in registry.entries("quantizer") if entry.facts.get("engine")]


def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=256,
        pad_token_id=0,
        num_labels=3,
    )
    model = LlamaForSequenceClassification(config).eval()
    with torch.no_grad():
        # Inputs of very different size, so that a scale search has something to find.
        for layer in model.model.layers:
            layer.input_layernorm.weight.mul_(torch.logspace(-1, 1, 128))
            layer.post_attention_layernorm.weight.mul_(torch.logspace(1, -1, 128))
    return model


def batches():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 96, (16, 40), generator=generator)
    mask = torch.ones_like(ids)
    mask[:4, 30:] = 0
    ids[:4, 30:] = 0
    return [{"input_ids": ids, "attention_mask": mask}]


@torch.no_grad()
def hidden(model):
    """The last hidden states of real tokens: more telling than three logits."""
    (batch,) = batches()
    return model.model(**batch).last_hidden_state[batch["attention_mask"].bool()]


BLOCKS_ONLY = Scope(embeddings=False, head=False)


def quantized(name, bits=4, scope=BLOCKS_ONLY):
    entry = registry.get("quantizer", name)
    model = llama()
    method = Method(entry, entry.config(), Granularity(bits, 32))
    weights, receipts = quantize_model(model, method, batches(), SilentReporter(), scope)
    return model, weights, receipts


@pytest.fixture(
    params=[pytest.param(one, marks=marks([one.facts["engine"]])) for one in ENGINES], ids=lambda entry: entry.name
)
def engine(request):
    reason = refuse(request.param, "llama", 32)
    if "not installed" in reason:
        lacking(reason)
    return request.param.name


@pytest.mark.parametrize("bits", [4, 3])
def test_an_engine_quantizes_blocks_and_we_do_the_rest(engine, bits):
    model, weights, receipts = quantized(engine, bits, Scope())
    by_name = {one.name: one for one in receipts}
    assert by_name.keys() == weights.keys()
    assert {one.method for one in receipts if ".layers." in one.name} == {engine}
    assert by_name["score.weight"].method in ("gptq", "rtn")
    assert by_name["model.embed_tokens.weight"].method == "mse"
    assert "layers of blocks only" in by_name["score.weight"].fallback
    for name, one in weights.items():
        assert one.codes.dtype == torch.uint8
        assert int(one.codes.max()) < 2**bits
        assert torch.allclose(model.get_parameter(name), one.dequantize(), atol=1e-6)


def test_an_engine_beats_rounding_to_nearest(engine):
    before = hidden(llama())
    errors = {name: (hidden(quantized(name, 3)[0]) - before).norm() for name in (engine, "rtn")}
    assert errors[engine] < errors["rtn"]


def test_ours_is_no_worse_than_the_engine_it_is_compared_with(engine):
    before = hidden(llama())
    ours = registry.get("quantizer", engine).facts["instead"]
    errors = {name: (hidden(quantized(name, 3)[0]) - before).norm() for name in (engine, ours)}
    assert errors[ours] <= errors[engine]


def test_autoawq_on_a_cpu_leaves_the_function_of_the_model_alone():
    entry = registry.get("quantizer", "autoawq")
    model = llama()
    before = hidden(model)
    made = entry.target(model, Granularity(4, 32), batches(), entry.config())
    clean = llama()
    parameters = dict(clean.named_parameters())
    changed = 0
    with torch.no_grad():
        for name, tensor in made.replaced.items():
            changed += int(not torch.equal(parameters[name], tensor))
            parameters[name].copy_(tensor)
    assert changed > 4, "AutoAWQ is expected to scale norms and weights"
    assert torch.allclose(hidden(clean), before, atol=1e-3)


def test_autoawq_alone_corrupts_weights_on_a_cpu():
    """Why the search is given clones; when this fails AutoAWQ has been mended and the subclass can go."""
    from awq.models.auto import AWQ_CAUSAL_LM_MODEL_MAP
    from awq.quantize.quantizer import AwqQuantizer

    model = llama()
    model.prepare_inputs_for_generation = lambda ids, **kwargs: {"input_ids": ids, **kwargs}
    rows = token_blocks(batches())
    known = type("Known", (AWQ_CAUSAL_LM_MODEL_MAP["llama"],), {"model_type": "llama"})
    quantizer = AwqQuantizer(
        known,
        model,
        None,
        4,
        32,
        True,
        "gemm",
        rows,
        "train",
        "text",
        True,
        max_calib_samples=len(rows),
        max_calib_seq_len=len(rows[0]),
    )
    layer = copy.deepcopy(model.model.layers[0])
    linear = model.model.layers[0].mlp.down_proj
    with torch.no_grad():
        x = torch.randn(64, 256)
        quantizer._search_best_scale(model.model.layers[0], model.model.layers[0].mlp.up_proj, [linear], x)
    assert not torch.allclose(linear.weight, layer.mlp.down_proj.weight, atol=1e-3)


def test_engines_refuse_what_they_do_not_know():
    entry = registry.get("quantizer", "autoawq")
    assert "got bert; use `awq`" in refuse(entry, "bert", 32)
    assert "needs a group size" in refuse(entry, "llama", 0)
    assert refuse(entry, "llama", 32) == ""
    assert refuse(registry.get("quantizer", "gptq"), "bert", 0) == ""
    with pytest.raises(ConfigError, match="average_bits"):
        RunConfig.from_dict({"quantization": {"quantizer": "autoawq", "average_bits": 3.5}})


def test_blocks_of_tokens_leave_padding_out():
    rows = token_blocks(batches(), 100)
    assert [len(row) for row in rows] == [100] * 6
    assert all(token for row in rows for token in row)
