"""The keys of a GGUF file: shape, rotary embedding and, where it can be told exactly, the vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dqf.artifacts import Artifact

ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""GGUF architecture by transformers `model_type`."""
LAST_TOKEN = 3
NORMAL, CONTROL = 1, 3


def write_metadata(writer: Any, artifact: Artifact, config: Mapping[str, Any], chosen: str, notes: list[str]) -> None:
    """Add all keys.

    Args:
        writer: a `gguf.GGUFWriter`.
        artifact: what is exported.
        config: transformers config.
        chosen: type of the blocks.
        notes: receives what could not be written.
    """
    import gguf

    heads = int(config["num_attention_heads"])
    rope = config.get("rope_parameters") or {}
    writer.add_name(str(artifact.folder.name))
    writer.add_file_type(getattr(gguf.LlamaFileType, f"MOSTLY_{chosen}"))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_rope_dimension_count(int(config.get("head_dim") or int(config["hidden_size"]) // heads))
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_pooling_type(gguf.PoolingType(LAST_TOKEN))
    if not _write_vocabulary(writer, artifact, config):
        notes.append("The GGUF file holds no vocabulary (its tokenizer is not byte-level BPE): use tokenizer.json.")


def _write_vocabulary(writer: Any, artifact: Artifact, config: Mapping[str, Any]) -> bool:
    """Write a byte-level BPE vocabulary; return whether the tokenizer is one that GGUF can name."""
    data = json.loads((artifact.folder / "tokenizer.json").read_text(encoding="utf-8"))
    model, pre = data.get("model") or {}, _pre_tokenizer(data.get("pre_tokenizer") or {})
    if model.get("type") != "BPE" or not pre:
        return False
    added = {one["id"]: one for one in data.get("added_tokens", ())}
    by_id = {at: token for token, at in model["vocab"].items()} | {at: one["content"] for at, one in added.items()}
    count = int(config["vocab_size"])
    tokens = [by_id.get(at, f"[PAD{at}]") for at in range(count)]
    kinds = [
        CONTROL if at not in by_id or (at in added and added[at].get("special")) else NORMAL for at in range(count)
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = model.get("merges") or []
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    for key, add in (("bos_token_id", writer.add_bos_token_id), ("eos_token_id", writer.add_eos_token_id)):
        if isinstance(config.get(key), int):
            add(config[key])
    writer.add_pad_token_id(int(artifact.manifest["pad_id"]))
    writer.add_add_bos_token(False)
    return True


def _pre_tokenizer(pre: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of a pre-tokenizer, empty for those that are not known to match."""
    steps = pre.get("pretokenizers") or [pre]
    kinds = [(one.get("type"), one.get("individual_digits"), one.get("add_prefix_space")) for one in steps]
    if kinds == [("Digits", True, None), ("ByteLevel", None, False)]:
        return "smollm"
    if kinds == [("ByteLevel", None, False)]:
        return "gpt-2"
    return ""
