"""Unseen tokens: which rare tokens are likeliest in new texts, and what share of new texts is dropped tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from infoprune.vocabulary.tokenizer_json import State, by_frequency, indispensable, without_prefix


@dataclass(frozen=True)
class Lexicon:
    """Properties of a tokenizer's tokens that decide which are kept.

    Args:
        order: All tokens that a text can contain, the commonest in the language first, as far as the tokenizer shows
            it.
        stay: Tokens that are kept for any texts.
        special: Tokens that the tokenizer puts around texts.
        occurs: Whether a text can contain a token: its own text is one word for the tokenizer, unlike "[unused7]".
    """

    order: tuple[int, ...]
    stay: frozenset[int]
    special: frozenset[int]
    occurs: Callable[[int], bool]


def lexicon_to_rewrite(tokenizer: PreTrainedTokenizerBase, state: State) -> Lexicon:
    """Return the lexicon of a fast tokenizer that will be rewritten with fewer tokens: the alphabet is kept.

    Args:
        tokenizer: Fast tokenizer.
        state: Contents of its tokenizer.json.
    """
    special = frozenset(int(token["id"]) for token in state["added_tokens"] if token["special"])

    def occurs(token: int) -> bool:
        return _is_word(tokenizer, without_prefix(state, str(tokenizer.convert_ids_to_tokens(token))))

    return Lexicon(tuple(by_frequency(state)), frozenset(indispensable(state)), special, occurs)


def lexicon_as_it_is(tokenizer: PreTrainedTokenizerBase, state: State | None) -> Lexicon:
    """Return the lexicon of a tokenizer that is not changed: special and added tokens are kept.

    Args:
        tokenizer: Fast or slow tokenizer.
        state: Contents of its tokenizer.json where the type has a known order; with None the order is that of the
            token numbers.
    """
    special = frozenset(tokenizer.all_special_ids)
    stay = special | {int(i) for i in tokenizer.get_added_vocab().values()}
    if state is None:
        return Lexicon(tuple(sorted(tokenizer.get_vocab().values())), stay, special, lambda token: True)
    known = lexicon_to_rewrite(tokenizer, state)
    return Lexicon(known.order, stay, special, known.occurs)


def likeliest(lexicon: Lexicon, counts: Int[Tensor, " size"], kept: Collection[int], extra_tokens: int) -> list[int]:
    """Return the dropped tokens that are likeliest in new texts.

    They are sorted by their count, then by their frequency in the language as far as the tokenizer shows it. Tokens
    that cannot occur in a text are left out.

    Args:
        lexicon: Lexicon of the tokenizer.
        counts: Occurrences of every token.
        kept: Tokens that are kept anyway.
        extra_tokens: Largest number of tokens to return.
    """
    stay, seen = set(kept), counts.tolist()
    found: list[int] = []
    for token in sorted((i for i in lexicon.order if i not in stay), key=lambda i: -seen[i]):
        if len(found) == extra_tokens:
            break
        if seen[token] or lexicon.occurs(token):
            found.append(token)
    return found


def expected_share(lexicon: Lexicon, counts: Int[Tensor, " size"], min_count: int, extra: Sequence[int] = ()) -> float:
    """Estimate the share of dropped tokens among the tokens of new, similar texts.

    Good-Turing estimate: a new token is one of those that occurred r times among N with probability
    (r + 1) N_(r+1) / N, where N_r tokens occurred r times. The estimate sums over the dropped tokens. Of the tokens
    with the same count as the last extra one, the rarer ones in the language are dropped.

    Args:
        lexicon: Lexicon of the tokenizer.
        counts: Occurrences of every token in the texts.
        min_count: Occurrences that a token needed to be kept.
        extra: Tokens that are kept besides, from `likeliest`.

    Returns:
        A share of all tokens except the special ones around texts.

    Source: I. J. Good, The Population Frequencies of Species and the Estimation of Population Parameters, Biometrika
    40 (1953), equation 2.
    """
    order, seen = lexicon.order, [int(n) for n in counts.tolist()]
    rare = set(order) - lexicon.stay
    often, last = min_count - 1, -1
    if extra:
        often, last = seen[extra[-1]], order.index(extra[-1])
    fallen: int = sum(seen[i] for i in rare if seen[i] <= often)
    fallen += sum(often + 1 for i in order[last + 1 :] if i in rare and seen[i] == often + 1)
    return fallen / max(sum(seen) - sum(seen[i] for i in lexicon.special), 1)


def _is_word(tokenizer: PreTrainedTokenizerBase, name: str) -> bool:
    backend = tokenizer.backend_tokenizer
    text = name if backend.decoder is None else backend.decoder.decode([name])
    words = set(backend.encode(text, add_special_tokens=False).word_ids) - {None}  # None is padding
    return len(words) == 1
