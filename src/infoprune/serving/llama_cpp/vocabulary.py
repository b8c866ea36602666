"""Vocabulary: a tokenizer as llama.cpp stores it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from infoprune.errors import InputError
from infoprune.serving.llama_cpp.pre_tokenizer import State, byte_level_name, puts_space_first

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE_TOKEN = 1, 2, 3, 4, 5, 6
"""GGUF's types of tokens."""

SPECIAL = ("bos", "eos", "unk", "sep", "pad", "mask")


@dataclass(frozen=True)
class Vocabulary:
    """Tokens of a model, in the order of its embedding table.

    Args:
        model: "gpt2" for byte-level BPE, "llama" for BPE with byte tokens, as SentencePiece makes it.
        pre: llama.cpp's name for the pre-tokenizer.
        tokens: Texts of the tokens.
        types: Their types.
        merges: Pairs of tokens, as "a b", in the order in which they are merged.
        scores: For "llama", minus the rank of the first merge that makes each token; None for "gpt2".
        special: Numbers of the special tokens by name: "bos", "eos", "pad" and others.
        space_first: Whether a space is put before a text.
        add_start: Whether texts begin with the token for that.
        add_end: Whether texts end with the token for that.
        chat_template: Template of conversations, or several with names; None where there is none.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    scores: tuple[float, ...] | None
    special: dict[str, int]
    space_first: bool
    add_start: bool
    add_end: bool
    chat_template: str | list[dict[str, str]] | None


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """Return the vocabulary of a tokenizer, filled up with unused tokens to the rows of the embedding table.

    Raises:
        InputError: llama.cpp has no such tokenizer, or it does not fit the table, or names no token that ends a text.
    """
    state = _state(tokenizer)
    pieces = bool(state["model"].get("byte_fallback"))
    tokens, types = _tokens(state, pieces=pieces)
    if max(tokens) >= rows:
        raise InputError(
            f"the tokenizer has tokens up to number {max(tokens)}, expected fewer than the {rows} rows of the "
            "embedding table; pass the tokenizer of this model"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(
            "the tokenizer names no token that ends a text, expected one, since llama.cpp would take another; set "
            "tokenizer.eos_token"
        )
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in state["model"]["merges"]]
    ids = tokenizer("a")["input_ids"]
    template = tokenizer.chat_template
    return Vocabulary(
        model="llama" if pieces else "gpt2",
        pre="default" if pieces else byte_level_name(state),
        tokens=tuple(tokens.get(i, f"[PAD{i}]") for i in range(rows)),
        types=tuple(types.get(i, UNUSED) for i in range(rows)),
        merges=tuple(" ".join(pair) for pair in pairs),
        scores=_scores(pairs, [tokens.get(i, "") for i in range(rows)]) if pieces else None,
        special=_special(tokenizer),
        space_first=pieces and puts_space_first(state, chats=template is not None),
        add_start=ids[:1] == [tokenizer.bos_token_id],
        add_end=len(ids) > 1 and ids[-1] == tokenizer.eos_token_id,
        chat_template=_templates(template),
    )


def write_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:  # noqa: ANN401
    """Write a vocabulary into the header of a file.

    Args:
        writer: GGUFWriter of the package gguf.
        vocabulary: The vocabulary.
    """
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores is None:
        writer.add_token_merges(vocabulary.merges)
    else:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.space_first)
    for name, token in vocabulary.special.items():
        getattr(writer, f"add_{name}_token_id")(token)
    writer.add_add_bos_token(vocabulary.add_start)
    writer.add_add_eos_token(vocabulary.add_end)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def _state(tokenizer: PreTrainedTokenizerBase) -> State:
    """Return the contents of tokenizer.json.

    Raises:
        InputError: The tokenizer has none, or is of another type than BPE.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"{type(tokenizer).__name__} has no tokenizer.json, expected a fast tokenizer; load it with AutoTokenizer"
        )
    fast: Any = tokenizer
    state: State = json.loads(fast.backend_tokenizer.to_str())
    model = state["model"]
    if model["type"] != "BPE" or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise InputError(
            f"the tokenizer is a {model['type']} model, expected BPE without prefixes and suffixes of words: llama.cpp "
            "has no other for these models; run this model in PyTorch"
        )
    return state


def _tokens(state: State, *, pieces: bool) -> tuple[dict[int, str], dict[int, int]]:
    """Return texts and types of all tokens by number."""
    model = state["model"]
    tokens = {int(i): token for token, i in model["vocab"].items()}
    types = {i: BYTE_TOKEN if pieces and BYTE.fullmatch(token) else NORMAL for i, token in tokens.items()}
    for added in state["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    if pieces and model.get("unk_token") in model["vocab"]:
        types[model["vocab"][model["unk_token"]]] = UNKNOWN
    return tokens, types


def _scores(pairs: list[list[str]], tokens: list[str]) -> tuple[float, ...]:
    """Return minus the rank of the first merge that makes each token.

    llama.cpp merges the neighbours whose token has the highest score; tokens that no merge makes are single characters
    or are found before.
    """
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(pairs):
        ranks.setdefault("".join(pair), rank)
    return tuple(-float(ranks.get(token, len(ranks))) for token in tokens)


def _special(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    named: Any = tokenizer
    numbers = {name: getattr(named, f"{name}_token_id") for name in SPECIAL}
    return {name: number for name, number in numbers.items() if number is not None}


def _templates(template: Any) -> str | list[dict[str, str]] | None:  # noqa: ANN401
    if isinstance(template, dict):
        return [{"name": name, "template": text} for name, text in template.items()]
    return template  # type: ignore[no-any-return]
