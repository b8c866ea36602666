"""Tokenizer JSON: the indispensable tokens of a tokenizer, and the tokenizer without others. Dictionaries only."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any

from infoprune.errors import InputError

State = dict[str, Any]
MODEL_TYPES = ("WordPiece", "BPE", "Unigram")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def vocabulary(state: State) -> dict[str, int]:
    """Return all tokens of a tokenizer with their numbers, added tokens included.

    Args:
        state: Contents of tokenizer.json.

    Raises:
        InputError: The type of the tokenizer's model is not supported.
    """
    model = state["model"]
    if model.get("type") not in MODEL_TYPES:
        raise InputError(
            f"the tokenizer is a {model.get('type')} model, expected one of: {', '.join(MODEL_TYPES)}; "
            "pass `dropped_tokens=remap`, or leave vocabulary out of `structures`"
        )
    if model.get("end_of_word_suffix") or (model["type"] == "BPE" and model.get("continuing_subword_prefix")):
        raise InputError(
            "the tokenizer marks the inside or the end of words in its merges, expected plain merges; "
            "pass `dropped_tokens=remap`, or leave vocabulary out of `structures`"
        )
    return {**_model_tokens(model), **{token["content"]: int(token["id"]) for token in state["added_tokens"]}}


def indispensable(state: State) -> set[int]:
    """Return the tokens that are kept for any texts: added and special ones, the unknown token, and the alphabet.

    The alphabet is every token of one character (of one byte, in a byte-level tokenizer), at the start of a word and
    inside it: every text that the tokenizer could spell before, it can still spell.
    """
    model, tokens = state["model"], vocabulary(state)
    stay = {int(token["id"]) for token in state["added_tokens"]}
    stay |= {i for token, i in tokens.items() if len(without_prefix(state, token)) == 1 or _BYTE.fullmatch(token)}
    stay |= {i for token, i in tokens.items() if len(token) == 1}
    if model.get("unk_token") in tokens:
        stay.add(tokens[model["unk_token"]])
    if model["type"] == "Unigram":
        # Unigram derives the score of an unknown character from the lowest score of all tokens: with another lowest
        # score, texts with such characters would be split differently.
        stay.add(min(range(len(model["vocab"])), key=lambda i: model["vocab"][i][1]))
        # Some classes hard-code the number of the unknown token.
        stay |= set(range((model.get("unk_id") or 0) + 1))
    return stay.union(_named(state.get("post_processor")))


def by_frequency(state: State) -> list[int]:
    """Sort the tokens of the model by their frequency in the language, highest first, as far as the tokenizer shows it.

    The score of Unigram is a log-probability, and BPE merges the commonest pair first. A WordPiece vocabulary is taken
    in its own order; BERT's and others are sorted by frequency.
    """
    model = state["model"]
    if model["type"] == "Unigram":
        return sorted(range(len(model["vocab"])), key=lambda i: -model["vocab"][i][1])
    ids = sorted(_model_tokens(model).values())
    if model["type"] == "WordPiece":
        return ids
    tokens = _model_tokens(model)
    rank = {tokens[a + b]: rank for rank, (a, b) in reversed(list(enumerate(_merges(model)))) if a + b in tokens}
    return sorted(ids, key=lambda i: rank.get(i, -1))


def without_prefix(state: State, token: str) -> str:
    """Return a token as it appears in a text, without the prefix that marks the inside of words."""
    return token.removeprefix(state["model"].get("continuing_subword_prefix") or "")


def with_intermediates(state: State, kept: Collection[int]) -> set[int]:
    """Return the kept tokens and, for BPE, the intermediate tokens that are merged into them.

    Merging is greedy by rank, so a token always results from the same steps: those of merging it alone. A merge across
    its borders would have prevented the token.
    """
    if state["model"]["type"] != "BPE":
        return set(kept)
    tokens = vocabulary(state)
    ranks = {pair: rank for rank, pair in enumerate(_merges(state["model"]))}
    chosen = set(kept)
    return chosen.union(
        tokens[step]
        for token, i in tokens.items()
        if i in chosen and len(token) > 1
        for step in _steps(token, ranks)
        if step in tokens
    )


def restricted(state: State, kept: Collection[int]) -> State:
    """Return the tokenizer with the kept tokens only, renumbered in the same order.

    Args:
        state: Contents of tokenizer.json.
        kept: Kept tokens, with the indispensable ones and the intermediates; may contain other numbers.
    """
    number = {old: new for new, old in enumerate(sorted(kept))}
    small = copy.copy(state)
    model = small["model"] = dict(state["model"])
    tokens = {token: number[i] for token, i in _model_tokens(model).items() if i in number}
    if model["type"] == "Unigram":
        model["vocab"] = [pair for i, pair in enumerate(model["vocab"]) if i in number]
        if model.get("unk_id") is not None:
            model["unk_id"] = number[model["unk_id"]]
    else:
        model["vocab"] = tokens
    if model["type"] == "BPE":
        pairs = _merges(model)
        model["merges"] = [[a, b] for a, b in pairs if a in tokens and b in tokens and a + b in tokens]
    small["added_tokens"] = [{**token, "id": number[token["id"]]} for token in state["added_tokens"]]
    small["post_processor"] = _renumbered(state.get("post_processor"), number)
    if state.get("padding"):
        small["padding"] = {**state["padding"], "pad_id": number[state["padding"]["pad_id"]]}
    return small


def _model_tokens(model: Mapping[str, Any]) -> dict[str, int]:
    if model["type"] == "Unigram":
        return {token: i for i, (token, _) in enumerate(model["vocab"])}
    return {token: int(i) for token, i in model["vocab"].items()}


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs by rank; older files write them as "a b"."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return [(a, b) for a, b in pairs]


def _steps(token: str, ranks: Mapping[tuple[str, str], int]) -> set[str]:
    """Return all intermediate tokens between characters and a token; empty where the merges do not produce it."""
    parts = list(token)
    steps = set(parts)
    while len(parts) > 1:
        rank, index = min((ranks.get(pair, len(ranks)), i) for i, pair in enumerate(pairwise(parts)))
        if rank == len(ranks):
            return set()
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
        steps.add(parts[index])
    return steps


def _named(processor: object) -> Iterator[int]:
    """Yield the numbers of the tokens that a post-processor puts around texts."""
    if isinstance(processor, list):
        for part in processor:
            yield from _named(part)
    elif isinstance(processor, dict):
        for key, value in processor.items():
            if key in ("sep", "cls"):
                yield int(value[1])
            elif key == "special_tokens":
                for token in value.values():
                    yield from token["ids"]
            else:
                yield from _named(value)


def _renumbered(processor: object, number: Mapping[int, int]) -> object:
    if isinstance(processor, list):
        return [_renumbered(part, number) for part in processor]
    if not isinstance(processor, dict):
        return processor
    new: State = {}
    for key, value in processor.items():
        if key in ("sep", "cls"):
            new[key] = [value[0], number[value[1]]]
        elif key == "special_tokens":
            new[key] = {name: {**token, "ids": [number[i] for i in token["ids"]]} for name, token in value.items()}
        else:
            new[key] = _renumbered(value, number)
    return new
