"""The tokenizer of a model as it stands in its `tokenizer.json`.

transformers makes that of some architectures anew from their vocabulary: a BERT's is lower-cased then, whatever its
file says, unless `tokenizer_config.json` forbids it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers.utils import cached_file

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
CASE = "do_lower_case"


def own_tokenizer(name: str, revision: str, loaded: Any, rows: int) -> Tokenizer:
    """Return a model's tokenizer: that of its file, with the tokens that only its config adds.

    Args:
        name: folder or hub id, which transformers has loaded already.
        revision: of the hub id.
        loaded: the tokenizer of transformers; taken where there is no file, or where a config decides on case.
        rows: of the model's table of embeddings.
    """
    file, config = (
        cached_file(name, one, revision=revision, _raise_exceptions_for_missing_entries=False) for one in (FILE, CONFIG)
    )
    if file is None or CASE in _read(config):
        return loaded.backend_tokenizer
    tokenizer = Tokenizer.from_file(file)
    for at, token in sorted(loaded.added_tokens_decoder.items()):
        if tokenizer.token_to_id(token.content) is None and at == tokenizer.get_vocab_size() < rows:
            (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer


def was_lower_cased(folder: Path) -> bool:
    """Tell whether earlier versions lower-cased what this folder's tokenizer does not: their models are other ones."""
    normalizer = _read(folder / FILE).get("normalizer")
    parts = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else []
    cased = any(isinstance(one, dict) and one.get("lowercase") is False for one in parts)
    return cased and CASE not in _read(folder / CONFIG)


def _read(path: str | Path | None) -> dict[str, Any]:
    """Return the content of a JSON file, nothing if there is none."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
