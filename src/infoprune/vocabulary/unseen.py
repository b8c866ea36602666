"""Unseen: which tokens are likeliest to come among those that texts hardly have, and how many will come that go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from infoprune.vocabulary.tokenizer_json import State, by_frequency, indispensable, without_prefix


@dataclass(frozen=True)
class Lexicon:
    """What a choice among the tokens of a tokenizer has to know of them.

    Args:
        order: all that can come from a text, the commonest in the language first, as far as the tokenizer tells.
        stay: those that stay whatever the texts are.
        special: those that are put around texts.
        sayable: whether a text can have a token: its own text is one word for the tokenizer, unlike "[unused7]".
    """

    order: tuple[int, ...]
    stay: frozenset[int]
    special: frozenset[int]
    sayable: Callable[[int], bool]


def lexicon_to_rewrite(tokenizer: PreTrainedTokenizerBase, state: State) -> Lexicon:
    """Of a fast tokenizer that is to be written with fewer tokens: the alphabet stays.

    Args:
        tokenizer: fast.
        state: what its tokenizer.json holds.
    """
    special = frozenset(int(token["id"]) for token in state["added_tokens"] if token["special"])

    def sayable(token: int) -> bool:
        return _is_word(tokenizer, without_prefix(state, str(tokenizer.convert_ids_to_tokens(token))))

    return Lexicon(tuple(by_frequency(state)), frozenset(indispensable(state)), special, sayable)


def lexicon_as_it_is(tokenizer: PreTrainedTokenizerBase, state: State | None) -> Lexicon:
    """Of a tokenizer that is not to be changed: special and added tokens stay.

    Args:
        tokenizer: of any kind.
        state: what its tokenizer.json holds, where it is of a kind whose order is known; else the order is that of the
            numbers.
    """
    special = frozenset(tokenizer.all_special_ids)
    stay = special | {int(i) for i in tokenizer.get_added_vocab().values()}
    if state is None:
        return Lexicon(tuple(sorted(tokenizer.get_vocab().values())), stay, special, lambda token: True)
    known = lexicon_to_rewrite(tokenizer, state)
    return Lexicon(known.order, stay, special, known.sayable)


def likeliest(lexicon: Lexicon, counts: Int[Tensor, " size"], kept: Collection[int], extra: int) -> list[int]:
    """The tokens that are likeliest in new texts among those that go.

    First come those that were seen more often, then those that are commoner in the language, as far as the tokenizer
    tells; a token that no text is ever split into is none of them.

    Args:
        lexicon: of the tokenizer.
        counts: how often every token was seen.
        kept: tokens that stay in any case.
        extra: how many to give, at most.
    """
    stay, seen = set(kept), counts.tolist()
    found: list[int] = []
    for token in sorted((i for i in lexicon.order if i not in stay), key=lambda i: -seen[i]):
        if len(found) == extra:
            break
        if seen[token] or lexicon.sayable(token):
            found.append(token)
    return found


def expected_share(lexicon: Lexicon, counts: Int[Tensor, " size"], min_count: int, extra: Sequence[int] = ()) -> float:
    """The share of the tokens of new texts, of the same kind as some texts, that will be none of those that stay.

    Good and Turing: a new token is with probability (r + 1) N_(r+1) / N one of those that were seen r times among N,
    where N_r tokens were seen r times. Summed over the tokens that go; of those that were seen as often as the last
    extra one, these are the rarer ones in the language.

    Args:
        lexicon: of the tokenizer.
        counts: how often every token was seen in the texts.
        min_count: how often a token had to be seen to stay.
        extra: tokens that stay besides, from `likeliest`.

    Returns:
        A share of the tokens without the special ones around texts.

    Source: I. J. Good, The Population Frequencies of Species and the Estimation of Population Parameters, Biometrika
    40 (1953), equation 2.
    """
    order, seen = lexicon.order, [int(n) for n in counts.tolist()]
    rare = set(order) - lexicon.stay
    often, place = min_count - 1, -1
    if extra:
        often, place = seen[extra[-1]], order.index(extra[-1])
    fallen: int = sum(seen[i] for i in rare if seen[i] <= often)
    fallen += sum(often + 1 for i in order[place + 1 :] if i in rare and seen[i] == often + 1)
    return fallen / max(sum(seen) - sum(seen[i] for i in lexicon.special), 1)


def _is_word(tokenizer: PreTrainedTokenizerBase, name: str) -> bool:
    backend = tokenizer.backend_tokenizer
    text = name if backend.decoder is None else backend.decoder.decode([name])
    words = set(backend.encode(text, add_special_tokens=False).word_ids) - {None}  # None is padding
    return len(words) == 1
