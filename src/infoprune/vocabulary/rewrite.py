"""Rewrite: a fast tokenizer with fewer tokens, made by way of its files."""

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
# what save_pretrained writes besides, such as vocab.txt and merges.txt, still has the old numbers
_WITHOUT_NUMBERS = (TOKENIZER, TOKENIZER_CONFIG, "special_tokens_map.json", "chat_template.jinja")


def state_of(tokenizer: PreTrainedTokenizerBase) -> State:
    """What tokenizer.json would hold.

    Raises:
        InputError: the tokenizer is slow.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"{type(tokenizer).__name__} is a slow tokenizer, expected a fast one, whose tokens can be taken away; "
            "save one with a tokenizer.json beside the model, let the nearest rows stand in for what is dropped "
            "(--dropped-tokens nearest), or leave vocabulary out (--sites)"
        )
    state: State = json.loads(tokenizer.backend_tokenizer.to_str())
    return state


def with_tokens(tokenizer: PreTrainedTokenizerBase, kept: Sequence[int]) -> PreTrainedTokenizerBase:
    """A copy of a fast tokenizer that has only some of the tokens, numbered anew in the same order.

    It is made by way of its files, so that it is what any later `from_pretrained` will give.

    Args:
        tokenizer: left as it is.
        kept: the tokens that stay, ascending; with those that it cannot do without.
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
    """Raises InputError where texts of kept tokens are split in another way: a class may do more than its files say."""
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
            f"{type(old).__name__} splits texts differently once tokens are taken away, expected the same tokens; "
            "leave the vocabulary as it is (--sites)"
        )
