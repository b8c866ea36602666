"""Unseen: which tokens are likeliest to come among those that texts hardly have, and how many will come that go."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from infoprune.vocabulary.tokenizer_json import State, by_frequency, indispensable, without_prefix


def likeliest(
    tokenizer: PreTrainedTokenizerBase,
    state: State,
    counts: Int[Tensor, " size"],
    kept: Collection[int],
    extra: int,
) -> list[int]:
    """The tokens that are likeliest in new texts among those that go.

    First come those that were seen more often, then those that are commoner in the language, as far as the tokenizer
    tells; a token that no text is ever split into is none of them.

    Args:
        tokenizer: fast.
        state: what its tokenizer.json holds.
        counts: how often every token was seen.
        kept: tokens that stay in any case.
        extra: how many to give, at most.
    """
    stay, seen = set(kept), counts.tolist()
    found: list[int] = []
    for token in sorted((i for i in by_frequency(state) if i not in stay), key=lambda i: -seen[i]):
        if len(found) == extra:
            break
        if seen[token] or _sayable(tokenizer, state, token):
            found.append(token)
    return found


def expected_share(state: State, counts: Int[Tensor, " size"], min_count: int, extra: Sequence[int] = ()) -> float:
    """The share of the tokens of new texts, of the same kind as some texts, that will be split into shorter ones.

    Good and Turing: a new token is with probability (r + 1) N_(r+1) / N one of those that were seen r times among N,
    where N_r tokens were seen r times. Summed over the tokens that go; of those that were seen as often as the last
    extra one, these are the rarer ones in the language.

    Args:
        state: what tokenizer.json holds.
        counts: how often every token was seen in the texts.
        min_count: how often a token had to be seen to stay.
        extra: tokens that stay besides, from `likeliest`.

    Returns:
        A share of the tokens without the special ones around texts.

    Source: I. J. Good, The Population Frequencies of Species and the Estimation of Population Parameters, Biometrika
    40 (1953), equation 2.
    """
    order, seen = by_frequency(state), [int(n) for n in counts.tolist()]
    rare = set(order) - indispensable(state)
    often, place = min_count - 1, -1
    if extra:
        often, place = seen[extra[-1]], order.index(extra[-1])
    fallen: int = sum(seen[i] for i in rare if seen[i] <= often)
    fallen += sum(often + 1 for i in order[place + 1 :] if i in rare and seen[i] == often + 1)
    special = sum(seen[int(token["id"])] for token in state["added_tokens"] if token["special"])
    return fallen / max(sum(seen) - special, 1)


def _sayable(tokenizer: PreTrainedTokenizerBase, state: State, token: int) -> bool:
    """Whether a text can have it: its own text is one word for the tokenizer, unlike "[unused7]"."""
    backend = tokenizer.backend_tokenizer
    name = without_prefix(state, str(tokenizer.convert_ids_to_tokens(token)))
    text = name if backend.decoder is None else backend.decoder.decode([name])
    words = set(backend.encode(text, add_special_tokens=False).word_ids) - {None}  # None is padding
    return len(words) == 1
