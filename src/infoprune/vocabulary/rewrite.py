"""Rewrite: save a fast tokenizer, remove tokens from its files, and load it again."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.vocabulary.counts import encoded
from infoprune.vocabulary.tokenizer_json import State, restricted

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
# other files of save_pretrained, such as vocab.txt and merges.txt, still have the old token numbers
_WITHOUT_NUMBERS = (TOKENIZER, TOKENIZER_CONFIG, "special_tokens_map.json", "chat_template.jinja")


def state_of(tokenizer: PreTrainedTokenizerBase) -> State:
    """Return the contents of the tokenizer's tokenizer.json.

    Raises:
        InputError: The tokenizer is slow.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"{type(tokenizer).__name__} is a slow tokenizer, expected a fast one, whose tokens can be removed; "
            "save one with a tokenizer.json beside the model, pass `dropped_tokens=remap`, or leave vocabulary out of "
            "`structures`"
        )
    state: State = json.loads(tokenizer.backend_tokenizer.to_str())
    return state


def with_tokens(tokenizer: PreTrainedTokenizerBase, kept: Sequence[int]) -> PreTrainedTokenizerBase:
    """Return a copy of a fast tokenizer with the kept tokens only, renumbered in the same order.

    The copy is loaded from edited files, so it equals the result of any later `from_pretrained`.

    Args:
        tokenizer: Fast tokenizer; not changed.
        kept: Kept tokens, ascending, with the indispensable ones.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save_pretrained(folder)
        state = restricted(state_of(tokenizer), kept)
        for file in folder.iterdir():
            if file.is_file() and file.name not in _WITHOUT_NUMBERS:
                file.unlink()
        (folder / TOKENIZER).write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
        config = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
        if config.get("added_tokens_decoder"):  # transformers before 5
            number = {str(old): str(new) for new, old in enumerate(kept)}
            config["added_tokens_decoder"] = {number[i]: t for i, t in config["added_tokens_decoder"].items()}
            (folder / TOKENIZER_CONFIG).write_text(json.dumps(config), encoding="utf-8")
        small: PreTrainedTokenizerBase = type(tokenizer).from_pretrained(folder)
    small.name_or_path = tokenizer.name_or_path
    return small


def check_same_splits(
    old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase, kept: Sequence[int], data: TextData
) -> None:
    """Raise InputError where texts of kept tokens are split differently: a class may do more than its files specify."""
    number = {before: after for after, before in enumerate(kept)}
    expected = {token: number[i] for token, i in old.get_vocab().items() if i in number}
    alike = new.get_vocab() == expected and all(
        [number[i] for i in before] == after
        for first, second in zip(encoded(old, data), encoded(new, data), strict=True)
        for before, after in zip(first, second, strict=True)
        if number.keys() >= set(before)
    )
    if not alike:
        raise InputError(
            f"{type(old).__name__} splits texts differently once tokens are removed, expected the same tokens; "
            "leave vocabulary out of `structures`"
        )
