"""Layouts hold exactly the codes they were given, and folded scales change nothing."""

import numpy as np
import pytest

from dqf.methods.exporters._folding import fold_input_scales
from dqf.methods.exporters._weights import Coded, Weights, block_parts, common_width, in_blocks


def coded(rows=64, columns=96, bits=4, width=32, symmetric=False, seed=0, input_scale=False):
    rng = np.random.default_rng(seed)
    groups = columns // width
    zero_point = rng.integers(0, 2**bits, (rows, groups), dtype=np.uint8)
    return Coded(
        rng.integers(0, 2**bits, (rows, columns), dtype=np.uint8),
        rng.uniform(0.001, 0.01, (rows, groups)).astype(np.float16).astype(np.float32),
        np.full_like(zero_point, 2 ** (bits - 1)) if symmetric else zero_point,
        bits,
        rng.uniform(0.5, 2, columns).astype(np.float16).astype(np.float32) if input_scale else None,
    )


def stream(words, bits, count):
    """Read one little-endian bit stream per row of int32 words."""
    flags = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    flags = flags.reshape(len(words), -1, bits)[:, :count]
    return (flags * (1 << np.arange(bits))).sum(-1)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("older", [True, False])
def test_gptq_tensors_decode_to_the_same_weight(bits, older):
    from dqf.methods.exporters.gptq import layer_tensors

    one = coded(bits=bits)
    one.zero_point = np.maximum(one.zero_point, 1) if older else one.zero_point
    tensors = layer_tensors(one, older)
    assert tensors["qweight"].shape == (96 * bits // 32, 64)
    codes = stream(tensors["qweight"].T, bits, 96)
    zeros = stream(tensors["qzeros"], bits, 64) + older
    scales = tensors["scales"].astype(np.float32)
    group = tensors["g_idx"]
    weight = (codes.T - zeros[group]) * scales[group]
    np.testing.assert_array_equal(weight.T.astype(np.float32), one.dense())


def test_autoawq_tensors_decode_to_the_same_weight():
    from dqf.methods.exporters.autoawq import ORDER, layer_tensors

    one = coded()
    tensors = layer_tensors(one)
    assert tensors["qweight"].shape == (96, 8)

    def rows(words):
        nibbles = stream(words.reshape(-1, 1), 4, 8)[:, np.argsort(ORDER)]
        return nibbles.reshape(len(words), -1)

    scales = np.repeat(tensors["scales"].astype(np.float32), 32, axis=0)
    weight = (rows(tensors["qweight"]) - np.repeat(rows(tensors["qzeros"]), 32, axis=0)) * scales
    np.testing.assert_array_equal(weight.T.astype(np.float32), one.dense())


@pytest.mark.parametrize(
    ("kind", "bits", "symmetric", "exact"),
    [("Q8_0", 8, True, True), ("Q8_0", 4, False, True), ("Q4_0", 4, True, True), ("Q4_1", 4, False, False)],
)
def test_gguf_blocks_dequantize_to_the_same_weight(kind, bits, symmetric, exact):
    gguf = pytest.importorskip("gguf")
    from dqf.methods.exporters.gguf import carry

    one = coded(bits=bits, symmetric=symmetric, width=96)
    wanted = one.dense()
    blocks = carry(one, kind)
    found = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind])
    if exact:
        np.testing.assert_array_equal(found, wanted)
    else:  # the minimum is rounded to FP16: less than 2^-11 of 15 steps
        assert np.abs(found - wanted).max() <= one.scale.max() * 15 * 2**-11


@pytest.mark.parametrize(("kind", "bits", "symmetric"), [("Q4_0", 4, False), ("Q4_1", 8, True), ("Q8_0", 8, False)])
def test_gguf_blocks_that_cannot_hold_the_codes_are_not_made(kind, bits, symmetric):
    from dqf.methods.exporters.gguf import carry

    assert carry(coded(bits=bits, symmetric=symmetric), kind) is None
    assert carry(coded(width=48), "Q4_1") is None


def test_regrouping_changes_no_value():
    one = coded(width=48)
    wanted = one.dense()
    one.regroup(common_width([48], (16, 32, 64)))
    assert one.width == 16
    np.testing.assert_array_equal(one.dense(), wanted)


def llama_block(kv_heads, fallback=False):
    """Return the weights of a one-layer Llama with input scales, hidden 32 and 4 heads."""
    kv = 8 * kv_heads
    shapes = {
        "self_attn.q_proj": (32, 32),
        "self_attn.k_proj": (kv, 32),
        "self_attn.v_proj": (kv, 32),
        "self_attn.o_proj": (32, 32),
        "mlp.gate_proj": (64, 32),
        "mlp.up_proj": (64, 32),
        "mlp.down_proj": (32, 64),
    }
    packed = {
        f"model.layers.0.{name}.weight": coded(*shape, seed=at, input_scale=True)
        for at, (name, shape) in enumerate(shapes.items())
    }
    first = "model.layers.0.self_attn."
    for name in (f"{first}k_proj.weight", f"{first}v_proj.weight"):
        packed[name].input_scale = packed[f"{first}q_proj.weight"].input_scale.copy()
    packed["model.layers.0.mlp.up_proj.weight"].input_scale = packed[
        "model.layers.0.mlp.gate_proj.weight"
    ].input_scale.copy()
    if fallback:
        packed[f"{first}k_proj.weight"].input_scale = None
    rng = np.random.default_rng(9)
    dense = {
        f"model.layers.0.{norm}.weight": rng.uniform(0.5, 2, 32).astype(np.float32)
        for norm in ("input_layernorm", "post_attention_layernorm")
    }
    config = {"model_type": "llama", "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": kv_heads}
    return Weights(packed, dense, config)


def run_block(weights, x):
    """Compute what the layers see and give, without attention: the paths that scales are folded along."""
    w = {name.removeprefix("model.layers.0.").removesuffix(".weight"): one for name, one in weights.all_dense().items()}
    heads = weights.config["num_attention_heads"] // weights.config["num_key_value_heads"]
    normed = x * w["input_layernorm"]
    value = (normed @ w["self_attn.v_proj"].T).reshape(len(x), -1, 8).repeat(heads, 1).reshape(len(x), -1)
    attended = value @ w["self_attn.o_proj"].T
    gated = x * w["post_attention_layernorm"]
    product = np.tanh(gated @ w["mlp.gate_proj"].T) * (gated @ w["mlp.up_proj"].T)
    return [
        normed @ w["self_attn.q_proj"].T,
        normed @ w["self_attn.k_proj"].T,
        attended,
        product @ w["mlp.down_proj"].T,
    ]


@pytest.mark.parametrize(("kv_heads", "fallback", "dense"), [(4, False, []), (2, False, ["o"]), (4, True, ["k"])])
def test_folded_input_scales_change_no_result(kv_heads, fallback, dense):
    weights = llama_block(kv_heads, fallback)
    x = np.random.default_rng(1).normal(size=(5, 32)).astype(np.float32)
    wanted = run_block(weights, x)
    became = fold_input_scales(weights)
    assert became == [f"model.layers.0.self_attn.{name}_proj.weight" for name in dense]
    assert all(one.input_scale is None for one in weights.coded.values())
    for found, want in zip(run_block(weights, x), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alike", [False, True])
def test_a_layer_is_dense_in_every_block_where_the_format_cannot_tell_blocks_apart(monkeypatch, alike):
    from types import SimpleNamespace

    from dqf.methods.exporters import _blocks

    weights = llama_block(4)
    second = llama_block(4, fallback=True)
    for part, found in ((weights.coded, second.coded), (weights.dense, second.dense)):
        part.update({name.replace("layers.0", "layers.1"): one for name, one in found.items()})
    weights.config["num_hidden_layers"] = 2
    artifact = SimpleNamespace(
        packed={name: SimpleNamespace(shape=one.codes.shape) for name, one in weights.coded.items()}
    )
    monkeypatch.setattr(_blocks, "read_weights", lambda artifact: weights)
    _, width, dense = _blocks.read_blocks(artifact, "a checkpoint", alike)
    assert width == 32
    assert dense == [f"model.layers.{at}.self_attn.k_proj.weight" for at in ((0, 1) if alike else (1,))]
    assert not set(dense) & set(weights.coded)


def test_block_layers_are_told_from_tables_and_heads():
    names = ["bert.encoder.layer.11.output.dense.weight", "bert.embeddings.word_embeddings.weight", "score.weight"]
    assert in_blocks(names) == names[:1]
    assert block_parts(names[0]) == ("bert.encoder.layer", "output.dense")


def test_rounding_to_8_bits_is_nearest():
    from dqf.methods.exporters.onnx_8bit import round_to_8_bits

    weight = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    one = round_to_8_bits(weight)
    step = np.repeat(one.scale, one.width, axis=1)
    assert (np.abs(one.dense() - weight) <= 0.501 * step + 1e-3 * np.abs(weight)).all()


def test_gguf_carries_a_byte_level_vocabulary_that_gives_the_same_ids(tmp_path):
    gguf = pytest.importorskip("gguf")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoTokenizer

    from dqf.artifacts import Artifact
    from dqf.methods.exporters._gguf_metadata import write_metadata

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = ["the film was bright and lovely number 42", "a dull, broken book: 7 times awful"] * 4
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    count = tokenizer.get_vocab_size()
    config = {
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "hidden_size": 32,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "vocab_size": count,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    notes = []
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    write_metadata(writer, Artifact(tmp_path, {"pad_id": 0}), config, "Q4_1", notes)
    writer.add_tensor("token_embd.weight", np.zeros((count, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert notes == []
    (tmp_path / "tokenizer.json").unlink()
    read = AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    for text in [*texts[:2], "Überraschung 2026!"]:
        assert read.encode(text, add_special_tokens=False) == tokenizer.encode(text).ids
