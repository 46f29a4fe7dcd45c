"""Quantizing whole models: order, inputs, scope, ties, refusals."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from dqf import registry
from dqf.errors import UserError
from dqf.progress import SilentReporter
from dqf.quant.model import Scope, quantize_model
from dqf.quant.qparams import Granularity
from dqf.quant.work import Method
from dqf.registry import Entry, NoOptions
from tests.support.tiny import write_bert, write_llama


@pytest.fixture(scope="module", params=["bert", "llama"])
def folder(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return (write_bert if request.param == "bert" else write_llama)(root / "model")


def load(folder):
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3, attn_implementation="eager")
    model.config.pad_token_id = 0
    return model.float().eval()


def batches(count=3):
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(count):
        ids = torch.randint(4, 40, (4, 12 + index), generator=generator)
        mask = torch.ones_like(ids)
        mask[1, 9:] = 0
        ids[1, 9:] = 0
        made.append({"input_ids": ids, "attention_mask": mask})
    return made


def method(name="gptq", bits=4, group_size=16, bits_of=None):
    entry = registry.get("quantizer", name)
    return Method(entry, entry.config(), Granularity(bits, group_size), bits_of)


def test_quantizers_see_what_the_model_so_far_really_gives(folder, monkeypatch):
    """Every layer's inputs equal those of a whole forward pass with all earlier blocks quantized, and no more."""
    monkeypatch.setattr("dqf.quant.calibration.autocast", lambda device: torch.autocast("cpu", enabled=False))
    torch.manual_seed(0)
    model = load(folder)
    names = {id(module.weight): name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    originals = {name: weight.clone() for name, weight in model.state_dict().items()}
    seen = []

    def block_of(weight):
        """Return the name of the block the first rows of a stacked weight come from, None outside the blocks."""
        for name in names.values():
            original = originals[f"{name}.weight"]
            if original.shape[1] == weight.shape[1] and torch.equal(weight[: len(original)], original):
                found = re.match(r".*\.layers?\.\d+\.", name)
                return found and found[0]
        raise AssertionError("no layer holds these rows")

    def note(weight, granularity, inputs, options):
        gathered = {}

        def hook(name):
            def keep(_module, args):
                x = args[0]
                x = x[mask] if x.dim() == 3 else x
                gathered.setdefault(name, []).append(x)

            return keep

        handles = [m.register_forward_pre_hook(hook(n)) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
        block = block_of(weight)

        def alike(x, hessian):
            """Whether these are the inputs; their second moments may have been summed in BF16."""
            exact = x.T @ x
            return (exact - hessian).norm() < 5e-3 * exact.norm()

        now = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict({n: originals[n] if block and n.startswith(block) else t for n, t in now.items()})
        for batch in batches():
            mask = batch["attention_mask"].bool()
            model(**batch)
        model.load_state_dict(now)
        for handle in handles:
            handle.remove()
        matching = [
            name
            for name, parts in gathered.items()
            if torch.cat(parts).shape[1] == inputs.hessian.shape[0] and alike(torch.cat(parts), inputs.hessian)
        ]
        assert matching
        parts = torch.cat(gathered[matching[0]])
        assert inputs.tokens == len(parts)
        assert torch.allclose(inputs.largest, parts.abs().amax(0), rtol=1e-4, atol=1e-5)
        seen.append((weight.shape[0], matching))
        rtn = registry.get("quantizer", "rtn")
        return rtn.target(weight, granularity, None, rtn.config())

    entry = Entry("quantizer", "note", "Note", "Notes.", NoOptions, note, {"needs_calibration": True})
    _, receipts = quantize_model(
        model, Method(entry, NoOptions(), Granularity(3, 16)), batches(), SilentReporter(), Scope(embeddings=False)
    )
    linear = len(names)
    assert len(receipts) == linear
    assert len(seen) < linear  # query, key and value read one input and are quantized together
    assert all(one.error_of == "output" for one in receipts)


def test_blocks_that_run_again_are_calibrated_on_every_pass():
    """ALBERT runs one block as often as it has layers: what reaches it later differs from what reaches it first."""
    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=64, embedding_size=16, hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, num_labels=3,
    )  # fmt: skip
    model = AlbertForSequenceClassification(config).eval()
    _, receipts = quantize_model(model, replace(method(), block_steps=2), batches(), SilentReporter())
    once = sum(int(batch["attention_mask"].sum()) for batch in batches())
    of_block = [one for one in receipts if "albert_layer_groups" in one.name]
    assert len(of_block) == 6
    assert [one.calibration_tokens for one in of_block] == [3 * once] * 6
    assert all(one.block_error is None for one in of_block)  # there is no block to tune apart from the others
    outside = {one.name: one.calibration_tokens for one in receipts if one.kind == "linear" and one not in of_block}
    sequences = sum(len(batch["input_ids"]) for batch in batches())
    assert outside == {
        "albert.encoder.embedding_hidden_mapping_in.weight": once,
        "albert.pooler.weight": sequences,
        "classifier.weight": sequences,
    }


def test_tables_get_scales_of_least_squared_error(folder):
    model = load(folder)
    _, receipts = quantize_model(model, method("gptq", bits=2), batches(), SilentReporter())
    tables = [one for one in receipts if one.kind == "embedding"]
    assert tables
    for one in tables:
        assert one.method == "mse"
        assert one.error < 0.8 * one.error_rtn
        assert "looked up" in one.fallback


@pytest.mark.parametrize("name", ["gptq", "awq", "hqq", "rtn"])
def test_weights_become_what_the_codes_stand_for(folder, name):
    model = load(folder)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    weights, receipts = quantize_model(model, method(name), batches(), SilentReporter())
    after = model.state_dict()
    for key, weight in after.items():
        if key in weights:
            assert torch.allclose(weight, weights[key].dequantize())
            assert not torch.equal(weight, before[key])
        else:
            assert torch.equal(weight, before[key])
    assert {one.name for one in receipts} == set(weights)
    linear = [one for one in receipts if one.kind == "linear"]
    assert all(one.error <= one.error_rtn for one in linear)
    assert all(weights[one.name].int8_scale is not None for one in linear)
    kept = [one for one in linear if one.method == name]
    assert len(kept) > (0.5 if name == "hqq" else 0.8) * len(linear)
    assert all(one.method == name or one.fallback for one in receipts)


@pytest.mark.parametrize("name", ["int8", "smoothquant"])
def test_methods_with_a_scale_per_row_are_what_is_kept(folder, name):
    """Rounding in groups has the smaller error on weights, and is not what was asked for."""
    model = load(folder)
    _, receipts = quantize_model(model, method(name, bits=8), batches(), SilentReporter())
    kept = [one for one in receipts if one.kind == "linear" and one.calibration_tokens]
    assert {(one.method, one.group_size, one.symmetric) for one in kept} == {(name, 0, True)}


def test_a_model_that_would_stay_in_fp16_is_refused():
    model = GPT2ForSequenceClassification(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64, pad_token_id=0))
    with pytest.raises(UserError, match=r"blocks must consist of linear layers: in GPT2ForSeq.* they hold 0%"):
        quantize_model(model, method("rtn"), None, SilentReporter())


def test_bits_may_differ_from_layer_to_layer(folder):
    model = load(folder)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    plan = {name: (8, 4, 3, 2)[i % 4] for i, name in enumerate(names)}
    weights, receipts = quantize_model(model, method(bits=4, bits_of=plan), batches(), SilentReporter())
    for name, bits in plan.items():
        assert weights[f"{name}.weight"].granularity.bits == bits
    assert {one.name: one.bits for one in receipts if one.kind == "linear"} == {
        f"{name}.weight": bits for name, bits in plan.items()
    }


def test_scope_leaves_tables_and_heads_alone(folder):
    model = load(folder)
    weights, _ = quantize_model(model, method(), batches(), SilentReporter(), Scope(embeddings=False, head=False))
    assert weights
    assert all(".layer" in name for name in weights)


def test_a_tied_table_is_quantized_once(tmp_path):
    folder = write_llama(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder, tie_word_embeddings=True).float().eval()
    model.tie_weights()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    weights, _ = quantize_model(model, method(), batches(), SilentReporter())
    assert [name for name in weights if "embed" in name or "lm_head" in name] == ["model.embed_tokens.weight"]
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_broken_weights_are_refused_by_name_before_anything_is_done(folder):
    model = load(folder)
    last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        model.get_submodule(last).weight[0, 0] = float("nan")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(UserError, match=last):
        quantize_model(model, method(), batches(), SilentReporter())
    assert all(
        torch.equal(weight.nan_to_num(), before[name].nan_to_num()) for name, weight in model.state_dict().items()
    )


def test_no_calibration_samples_and_unfit_groups_are_refused(folder):
    with pytest.raises(UserError, match="calibration samples"):
        quantize_model(load(folder), method(), [], SilentReporter())
    with pytest.raises(UserError, match="group_size"):
        quantize_model(load(folder), method(group_size=100), batches(), SilentReporter())
