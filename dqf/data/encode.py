"""Texts to token ids, with the plain `tokenizers` library so that serving needs no transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, processors

from dqf.data.tasks import Examples
from dqf.errors import UserError

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Encoded:
    """Token ids of examples, not padded.

    Attributes:
        ids: int64 (length,) per example.
        types: int64 (length,) token type ids per example, 0 for the first text and 1 for the second.
    """

    ids: tuple[Ids, ...]
    types: tuple[Ids, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return sum(len(one) for one in self.ids)

    def take(self, rows: Sequence[int] | Ids) -> Encoded:
        """Return the given examples, in that order."""
        return Encoded(tuple(self.ids[i] for i in rows), tuple(self.types[i] for i in rows))

    def batch(self, rows: list[int] | Ids, pad_id: int) -> dict[str, Ids]:
        """Return right-padded int64 (rows, longest) input_ids, attention_mask and token_type_ids."""
        longest = max(len(self.ids[i]) for i in rows)
        ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        types = np.zeros_like(ids)
        for row, i in enumerate(rows):
            length = len(self.ids[i])
            ids[row, :length] = self.ids[i]
            types[row, :length] = self.types[i]
            mask[row, :length] = 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


class Encoder:
    """A tokenizer file with a longest length."""

    def __init__(self, tokenizer_json: Path, max_length: int) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer_json))
        except Exception as error:
            raise UserError(f"tokenizer.json must be readable: {tokenizer_json.name} is not ({error}).") from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)
        # As in artifacts from before `mark_pairs`: the two texts would run together without a mark.
        self._joins_pairs = self._tokenizer.num_special_tokens_to_add(True) == 0

    def __call__(self, examples: Examples) -> Encoded:
        """Return the token ids of examples."""
        if examples.pairs is None:
            encodings = self._tokenizer.encode_batch(list(examples.texts))
        elif self._joins_pairs:
            encodings = self._tokenizer.encode_batch(
                [f"{a}\n{b}" for a, b in zip(examples.texts, examples.pairs, strict=True)]
            )
        else:
            encodings = self._tokenizer.encode_batch(list(zip(examples.texts, examples.pairs, strict=True)))
        # An empty text must still be one token long, or there is nothing to classify.
        ids = tuple(np.array(one.ids or [0], dtype=np.int64) for one in encodings)
        types = tuple(np.array(one.type_ids or [0], dtype=np.int64) for one in encodings)
        return Encoded(ids, types)


def mark_pairs(tokenizer: Tokenizer) -> None:
    """Let a tokenizer that knows no pairs, as decoders' do, put a line break between the texts of one.

    So a pair that is too long loses the end of its longer text, as with encoders. Joined before, by whoever asks, it
    would lose the end of the second text, or all of it, whatever the first one's length.
    """
    if tokenizer.num_special_tokens_to_add(True):
        return
    tokenizer.no_padding()  # as the encoder does; stored padding would become part of the mark
    tokenizer.no_truncation()
    line_break = tokenizer.encode("\n", add_special_tokens=False)
    if not line_break.ids:  # words alone: the encoder joins such pairs
        return
    mark = {"id": "\n", "ids": line_break.ids, "tokens": line_break.tokens}
    template = processors.TemplateProcessing(single="$A", pair=["$A", "\n", "$B"], special_tokens=[mark])
    before = tokenizer.post_processor
    tokenizer.post_processor = template if before is None else processors.Sequence([before, template])


def length_buckets(encoded: Encoded, batch_size: int) -> Iterator[list[int]]:
    """Yield row batches of similar length, longest first, for prediction."""
    order = sorted(range(len(encoded)), key=lambda i: (-len(encoded.ids[i]), i))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def shuffled_buckets(encoded: Encoded, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return one epoch's batches: shuffled, but of similar length within a batch.

    Rows are shuffled, sorted by length within chunks of 32 batches, cut into batches, and the
    batches shuffled again; the same seed and epoch give the same batches.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(encoded))
    batches: list[list[int]] = []
    chunk = batch_size * 32
    for start in range(0, len(order), chunk):
        rows = sorted((int(i) for i in order[start : start + chunk]), key=lambda i: len(encoded.ids[i]))
        batches.extend(rows[at : at + batch_size] for at in range(0, len(rows), batch_size))
    return [batches[i] for i in rng.permutation(len(batches))]
