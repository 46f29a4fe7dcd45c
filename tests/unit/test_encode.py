"""From texts to token ids: tokenizers as they stand in their files, pairs, batches."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from dqf.data.encode import Encoded, Encoder, length_buckets, mark_pairs, shuffled_buckets
from dqf.data.tasks import Examples, Task
from dqf.models.loading import load_source
from dqf.models.tokenizer import was_lower_cased
from dqf.settings import load_settings
from tests.support.tiny import write_bert, write_llama, write_tokenizer


def words_without_pairs(post_processor) -> Tokenizer:
    """Return a tokenizer of bytes that knows no pairs, as decoders' are."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if post_processor is not None:
        tokenizer.post_processor = post_processor
    texts = ["a first text of some words", "and a second one\n"]
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )
    return tokenizer


@pytest.mark.parametrize(
    "post_processor",
    [
        None,
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[]),  # as SmolLM2's
    ],
)
def test_a_long_first_text_leaves_room_for_the_second(tmp_path, post_processor):
    tokenizer = words_without_pairs(post_processor)
    tokenizer.enable_padding(length=16)  # as scripts leave it behind: no part of the mark
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_padding()
    mark_pairs(tokenizer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encode = Encoder(tmp_path / "tokenizer.json", 24)
    texts, seconds = ("short", "a first text of some words " * 20), ("one", "and a second one")
    encoded = encode(Examples(texts, seconds, np.zeros(2, dtype=np.int64)))
    assert encoded.ids[0].tolist() == plain.encode("short\none").ids  # what fits is as it was
    assert len(encoded.ids[1]) == 24
    second = plain.encode("and a second one").ids
    assert encoded.ids[1].tolist()[-len(second) - 1 :] == [*plain.encode("\n").ids, *second]
    assert encode(Examples(("alone",), None, np.zeros(1, dtype=np.int64))).ids[0].tolist() == plain.encode("alone").ids


def test_a_decoder_is_loaded_with_a_tokenizer_that_knows_pairs(tmp_path, monkeypatch):
    monkeypatch.setenv("DQF_MODEL_DIRS", str(tmp_path))
    folder = write_llama(tmp_path / "model")
    words_without_pairs(None).save(str(folder / "tokenizer.json"))
    nothing = Examples((), None, np.zeros(0, dtype=np.int64))
    task = Task("t", "classification", ("a", "b"), "accuracy", nothing, nothing)
    found = load_source(str(folder), task, load_settings(tmp_path / "results"), 0, tmp_path / "scratch")
    assert Tokenizer.from_file(str(found.tokenizer_json)).num_special_tokens_to_add(True) == 1


def test_a_cased_models_tokenizer_stays_cased(tmp_path, monkeypatch):
    """transformers makes a BERT's tokenizer anew from its vocabulary, lower-cased where no config says otherwise."""
    monkeypatch.setenv("DQF_MODEL_DIRS", str(tmp_path))
    folder = write_bert(tmp_path / "model")
    words = {word: at for at, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "Good"))}
    cased = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    cased.normalizer = normalizers.BertNormalizer(lowercase=False)
    cased.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    cased.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").unlink()
    nothing = Examples((), None, np.zeros(0, dtype=np.int64))
    task = Task("t", "classification", ("a", "b"), "accuracy", nothing, nothing)
    found = load_source(str(folder), task, load_settings(tmp_path / "results"), 0, tmp_path / "scratch")
    kept = Tokenizer.from_file(str(found.tokenizer_json))
    assert kept.encode("Good good", add_special_tokens=False).ids == [6, 5]
    assert was_lower_cased(folder), "what was trained from it before is another model"
    config = {"do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    told = load_source(str(folder), task, load_settings(tmp_path / "results"), 0, tmp_path / "told")
    assert Tokenizer.from_file(str(told.tokenizer_json)).encode("Good good", add_special_tokens=False).ids == [5, 5]
    assert not was_lower_cased(folder)


def test_tokens_that_stand_in_a_config_alone_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("DQF_MODEL_DIRS", str(tmp_path))
    folder = write_bert(tmp_path / "model")  # 64 rows of embeddings
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    at = file.get_vocab_size()
    added = {str(at): {"content": "[E1]", "special": True}, "99": {"content": "[BEYOND]", "special": True}}
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "added_tokens_decoder": added}))
    nothing = Examples((), None, np.zeros(0, dtype=np.int64))
    task = Task("t", "classification", ("a", "b"), "accuracy", nothing, nothing)
    found = load_source(str(folder), task, load_settings(tmp_path / "results"), 0, tmp_path / "scratch")
    assert Tokenizer.from_file(str(found.tokenizer_json)).encode("the [E1]", add_special_tokens=False).ids[-1] == at


def test_a_tokenizer_that_knows_pairs_is_left_alone(tmp_path):
    write_tokenizer(tmp_path, bert=True)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    before = tokenizer.to_str()
    mark_pairs(tokenizer)
    assert tokenizer.to_str() == before


def encoded(count, seed=0):
    rng = np.random.default_rng(seed)
    ids = tuple(np.arange(rng.integers(3, 20), dtype=np.int64) for _ in range(count))
    return Encoded(ids, tuple(np.zeros_like(one) for one in ids))


def test_buckets_hold_every_row_once_and_repeat():
    data = encoded(203)
    for batches in (list(length_buckets(data, 16)), shuffled_buckets(data, 16, 1, 0)):
        assert sorted(i for batch in batches for i in batch) == list(range(203))
    assert shuffled_buckets(data, 16, 1, 0) == shuffled_buckets(data, 16, 1, 0)
    assert shuffled_buckets(data, 16, 1, 0) != shuffled_buckets(data, 16, 1, 1)


def test_padding_is_on_the_right_and_masked():
    data = encoded(4)
    batch = data.batch([0, 1, 2, 3], 9)
    for row in range(4):
        length = len(data.ids[row])
        assert batch["attention_mask"][row].sum() == length
        assert (batch["input_ids"][row, length:] == 9).all()
