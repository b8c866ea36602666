"""Vocabulary: tokens that a user's texts never need leave the embedding table and the tokenizer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.data.texts import TextData
from infoprune.data.tokenizing import unchanged
from infoprune.errors import InputError
from infoprune.plan import VOCABULARY, Plan, check_same_tokens, plan_of
from infoprune.structure.embeddings import count_tokens, counts_positions_from_padding, tokens_by_role
from infoprune.surgery import prune
from infoprune.vocabulary.tokenizer_json import State, indispensable, restricted, vocabulary, with_intermediates
from infoprune.vocabulary.unseen import expected_share, likeliest

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_CHUNK = 1024
# what save_pretrained writes besides, such as vocab.txt and merges.txt, still has the old numbers
_WITHOUT_NUMBERS = (TOKENIZER, TOKENIZER_CONFIG, "special_tokens_map.json", "chat_template.jinja")


@dataclass(frozen=True)
class SmallVocabulary:
    """A model with fewer tokens, and the tokenizer that fits it.

    Args:
        model: carries the plan, whose site "vocabulary" says which tokens stayed.
        tokenizer: makes the model's inputs from now on.
        pieces: share of the tokens of new texts, of the same kind, that will be split into shorter ones: an estimate
            from the texts that told which tokens are needed.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pieces: float


def prune_vocabulary(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextData,
    *,
    min_count: int = 1,
    extra: int = 0,
) -> SmallVocabulary:
    """A copy of the model without the tokens that are hardly seen in some texts, and a tokenizer to match.

    Texts whose tokens all stay are split as before, so the model answers them as before, bit by bit. Other words are
    split into shorter tokens that stayed, characters at the least. A language model loses the outputs for the dropped
    tokens: its softmax is over the others. Do this before anything that needs batches (`collect`, `compress`,
    `distill`), and make these with the new tokenizer.

    Args:
        model: of a supported family that reads tokens; it is left as it is.
        tokenizer: fast, of kind WordPiece, BPE or Unigram; it is left as it is.
        data: all of the texts that tell which tokens are needed, not a sample.
        min_count: how often a token must occur in them to stay. Special and added tokens, single characters and what a
            kept token is merged from stay in any case.
        extra: how many more tokens stay, those that are likeliest in new texts: seen, but less often, or else the
            commonest in the language as far as the tokenizer tells.

    Raises:
        InputError: the tokenizer is slow, of another kind, or does not fit the model; the model reads no tokens; or a
            number is out of range.

    Example:
        >>> small = infoprune.prune_vocabulary(model, tokenizer, infoprune.read_texts("reviews.csv"))
        >>> infoprune.save(small.model, "small", small.tokenizer)
    """
    plan, pieces = _planned(model, tokenizer, data, min_count, extra)
    kept = plan.kept[VOCABULARY]
    small = SmallVocabulary(prune(model, plan), with_tokens(tokenizer, kept), pieces)
    _check_same_tokens(tokenizer, small.tokenizer, kept, data)
    return small


def _planned(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: TextData, min_count: int, extra: int
) -> tuple[Plan, float]:
    """Which tokens stay, and the share of new tokens that will be none of them."""
    if min_count < 1:
        raise InputError(f"min_count is {min_count}, expected at least 1; 1 keeps every token seen (--min-count)")
    if extra < 0:
        raise InputError(f"{extra} extra tokens were asked for, expected 0 or more; 0 keeps none (--extra-tokens)")
    size = count_tokens(model)
    if size == 0:
        raise InputError(f"{type(model).__name__} reads no tokens, expected a model of texts; leave vocabulary out")
    state = _state(tokenizer)
    highest = max(vocabulary(state).values())
    if highest >= size:
        raise InputError(
            f"the tokenizer has {highest + 1} tokens and the model's embedding table {size}, expected no more than "
            "that; use the tokenizer that belongs to the model"
        )
    counts = count_occurrences(tokenizer, data, size)
    stay = indispensable(state) | {i for ids in tokens_by_role(model).values() for i in ids}
    if counts_positions_from_padding(model):
        stay |= set(range(tokens_by_role(model).get("pad_token_id", (0,))[0]))
    stay |= set((counts >= min_count).nonzero()[:, 0].tolist())
    more = likeliest(tokenizer, state, counts, with_intermediates(state, stay), extra) if extra else []
    kept = with_intermediates(state, stay.union(more))
    before = plan_of(model)
    plan = Plan(
        model.config.model_type,
        {VOCABULARY: size},
        {VOCABULARY: tuple(sorted(kept))},
        criterion="counts" if before is None else before.criterion,
        seed=0 if before is None else before.seed,
        nats_lost=0.0 if kept >= set(counts.nonzero()[:, 0].tolist()) else None,
    )
    complete = kept >= set(vocabulary(state).values())
    return plan, 0.0 if complete else expected_share(state, counts, min_count, more)


def with_tokens_of(dense: PreTrainedModel, small: PreTrainedModel) -> PreTrainedModel:
    """The dense model as it is, or a copy without the tokens that the small one has lost: both read the same numbers.

    Raises:
        InputError: the dense model is not one that had the small one's tokens before the cut.
    """
    plan, before = plan_of(small), plan_of(dense)
    if plan is None or VOCABULARY not in plan.kept or (before is not None and VOCABULARY in before.kept):
        check_same_tokens(small, dense)
        return dense
    part = {VOCABULARY: plan.units[VOCABULARY]}, {VOCABULARY: plan.kept[VOCABULARY]}
    return prune(dense, Plan(dense.config.model_type, *part, plan.criterion, plan.seed))


def count_occurrences(tokenizer: PreTrainedTokenizerBase, data: TextData, size: int) -> Int[Tensor, " size"]:
    """How often every token occurs in texts, which are not cut at any length."""
    counts = torch.zeros(size, dtype=torch.long)
    for chunk in _encoded(tokenizer, data):
        counts += torch.bincount(torch.tensor([i for ids in chunk for i in ids], dtype=torch.long), minlength=size)
    return counts


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
        state = restricted(_state(tokenizer), kept)
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


def _state(tokenizer: PreTrainedTokenizerBase) -> State:
    if not tokenizer.is_fast:
        raise InputError(
            f"{type(tokenizer).__name__} is a slow tokenizer, expected a fast one, whose tokens can be taken away; "
            "save one with a tokenizer.json beside the model, or leave vocabulary out (--sites)"
        )
    state: State = json.loads(tokenizer.backend_tokenizer.to_str())
    return state


def _encoded(tokenizer: PreTrainedTokenizerBase, data: TextData) -> Iterator[list[list[int]]]:
    for start in range(0, len(data), _CHUNK):
        part = slice(start, start + _CHUNK)
        pairs = None if data.pairs is None else list(data.pairs[part])
        with unchanged(tokenizer):
            encoded = tokenizer(list(data.texts[part]), pairs, truncation=False, verbose=False)
        yield encoded["input_ids"]


def _check_same_tokens(
    old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase, kept: Sequence[int], data: TextData
) -> None:
    """Raises InputError where texts of kept tokens are split in another way: a class may do more than its files say."""
    number = {before: after for after, before in enumerate(kept)}
    expected = {token: number[i] for token, i in old.get_vocab().items() if i in number}
    alike = new.get_vocab() == expected and all(
        [number[i] for i in before] == after
        for first, second in zip(_encoded(old, data), _encoded(new, data), strict=True)
        for before, after in zip(first, second, strict=True)
        if number.keys() >= set(before)
    )
    if not alike:
        raise InputError(
            f"{type(old).__name__} splits texts differently once tokens are taken away, expected the same tokens; "
            "leave the vocabulary as it is (--sites)"
        )
