"""Tiny real models and data, so that the whole engine runs in seconds."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

GOOD = ("great", "lovely", "bright", "warm", "superb", "kind")
BAD = ("awful", "dull", "cold", "broken", "grim", "cruel")
THINGS = ("film", "book", "song", "meal", "house", "game", "play", "walk")


def write_csv(path: Path, rows: int = 160, seed: int = 0) -> Path:
    """Write a two-class sentiment table with columns text and label; the words decide the class."""
    rng = random.Random(seed)
    seen = set()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        while len(seen) < rows:
            label = rng.choice(("bad", "good"))
            words = rng.sample(GOOD if label == "good" else BAD, 2)
            text = f"the {rng.choice(THINGS)} was {words[0]} and {words[1]} number {rng.randrange(1000)}"
            if text not in seen:
                seen.add(text)
                writer.writerow([text, label])
    return path


def write_tokenizer(folder: Path, bert: bool) -> None:
    """Write a word-level fast tokenizer; BERT's adds [CLS] and [SEP] and knows pairs."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, "the", "was", "and", "number", *GOOD, *BAD, *THINGS, *map(str, range(10))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if bert:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)


def write_bert(folder: Path, layers: int = 2, seed: int = 0, hidden: int = 32, **options: Any) -> Path:
    """Write a random BERT."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=64,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
        **options,
    )
    kind = BertForSequenceClassification if options else BertModel
    kind(config).save_pretrained(folder)
    write_tokenizer(folder, bert=True)
    return folder


def write_llama(folder: Path, layers: int = 4, seed: int = 0, hidden: int = 32) -> Path:
    """Write a random Llama."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    write_tokenizer(folder, bert=False)
    return folder


def tiny_config(root: Path, **changes: Any) -> dict[str, Any]:
    """Write models and data below `root` and return a config that trains in seconds."""
    from dqf.config import merge

    if not (root / "data.csv").exists():
        write_csv(root / "data.csv")
        write_llama(root / "teacher")
        write_bert(root / "student")
    base = {
        "task": {
            "source": f"file:{root / 'data.csv'}",
            "text_column": "text",
            "label_column": "label",
            "max_length": 32,
        },
        "teacher": {"model": str(root / "teacher"), "epochs": 2, "learning_rate": 3e-3, "freeze_embeddings": False},
        "student": {"model": str(root / "student"), "epochs": 2, "learning_rate": 3e-3},
        "quantization": {"group_size": 16, "calibration_samples": 32},
        "measurement": {"latency_samples": 5, "runtime": "openvino-fp32"},
    }
    return merge(base, changes)
