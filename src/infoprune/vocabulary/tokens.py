"""Tokens: those that a user's texts never need leave the embedding table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.plan import VOCABULARY, Plan, check_same_tokens, plan_of
from infoprune.processes import as_the_first_says, share_of
from infoprune.ranking.criteria import demand_metric
from infoprune.statistics.calibration import Batch
from infoprune.statistics.entry import entry_demand
from infoprune.structure.embeddings import count_tokens, counts_positions_from_padding, tokens_by_role
from infoprune.structure.stand_ins import rows_of_tokens, table_of
from infoprune.surgery import prune
from infoprune.vocabulary.counts import count_occurrences
from infoprune.vocabulary.dropped import Dropped, check_dropped, default_for
from infoprune.vocabulary.nearest import nearest_rows
from infoprune.vocabulary.rewrite import check_same_splits, state_of, with_tokens
from infoprune.vocabulary.tokenizer_json import KINDS, State, vocabulary, with_intermediates
from infoprune.vocabulary.unseen import expected_share, lexicon_as_it_is, lexicon_to_rewrite, likeliest

SAMPLES = 1024
"""Texts that are drawn to measure what the model demands of its embeddings."""
TAU = 0.1
"""Floor of the metric, as in `ChannelInformation`."""


@dataclass(frozen=True)
class SmallVocabulary:
    """A model with fewer rows in its embedding table, and the tokenizer that fits it.

    Args:
        model: carries the plan, whose site "vocabulary" says which tokens stayed.
        tokenizer: makes the model's inputs from now on; the same as before where nearest rows stand in.
        missing: share of the tokens of new texts, of the same kind, that will be none of those that stayed: an estimate
            from the texts that told which tokens are needed.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    missing: float


def prune_vocabulary(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextData,
    *,
    min_count: int = 1,
    extra: int = 0,
    dropped: Dropped | None = None,
    batches: Sequence[Batch] | None = None,
) -> SmallVocabulary:
    """A copy of the model without the rows of tokens that are hardly seen in some texts, and a tokenizer to match.

    Texts whose tokens all stay are answered as before, bit by bit. What becomes of other tokens is `dropped`:

    - "pieces": the tokenizer forgets them, and splits their words into shorter tokens that stayed, characters at the
      least. Tokens are numbered anew, and a stock config can say the size of the table. A language model loses the
      outputs for the dropped tokens: its softmax is over the others. Do this before anything that needs batches
      (`collect`, `compress`, `distill`), and make these with the new tokenizer.
    - "nearest": tokenizer and numbers stay as they are, and for a dropped token the model reads the row of the kept one
      that changes its answers least: the nearest in the metric of what the model demands of its embeddings. Only
      `infoprune.load` opens the saved model. Not for models that say tokens.

    Args:
        model: of a supported family that reads tokens; it is left as it is.
        tokenizer: its own; it is left as it is. For "pieces" fast, of kind WordPiece, BPE or Unigram.
        data: all of the texts that tell which tokens are needed, not a sample.
        min_count: how often a token must occur in them to stay. Special and added tokens stay in any case, and for
            "pieces" single characters and what a kept token is merged from.
        extra: how many more tokens stay, those that are likeliest in new texts: seen, but less often, or else the
            commonest in the language as far as the tokenizer tells.
        dropped: "nearest" or "pieces"; None is "nearest" where only `infoprune.load` could open the model anyway and
            it says no tokens, else "pieces".
        batches: inputs that tell for "nearest" what the model demands; by default 1,024 of the texts.

    Raises:
        InputError: the tokenizer or the model is not one for what was asked, they do not fit each other, or a number is
            out of range.

    Example:
        >>> small = infoprune.prune_vocabulary(model, tokenizer, infoprune.read_texts("reviews.csv"))
        >>> infoprune.save(small.model, "small", small.tokenizer)
    """
    _check_numbers(model, min_count, extra)
    if (dropped or default_for(model)) == "nearest":
        return _with_nearest(model, tokenizer, data, min_count, extra, batches)
    return _in_pieces(model, tokenizer, data, min_count, extra)


def with_tokens_of(dense: PreTrainedModel, small: PreTrainedModel) -> PreTrainedModel:
    """The dense model as it is, or a copy without the tokens that the small one has lost: both read the same numbers.

    Raises:
        InputError: the dense model is not one that had the small one's tokens before the cut.
    """
    plan, before = plan_of(small), plan_of(dense)
    if plan is None or plan.numbering is None or (before is not None and VOCABULARY in before.kept):
        check_same_tokens(small, dense)
        return dense
    part = {VOCABULARY: plan.units[VOCABULARY]}, {VOCABULARY: plan.kept[VOCABULARY]}
    return prune(dense, Plan(dense.config.model_type, *part, plan.criterion, plan.seed))


def _in_pieces(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: TextData, min_count: int, extra: int
) -> SmallVocabulary:
    check_dropped(model, "pieces")
    state = state_of(tokenizer)
    _check_fit(model, vocabulary(state).values())
    counts = count_occurrences(tokenizer, data, count_tokens(model))
    lexicon = lexicon_to_rewrite(tokenizer, state)
    stay = lexicon.stay | _with_a_role(model) | _seen(counts, min_count)
    if counts_positions_from_padding(model):
        stay |= set(range(tokens_by_role(model).get("pad_token_id", (0,))[0]))
    more = likeliest(lexicon, counts, with_intermediates(state, stay), extra) if extra else []
    kept = sorted(with_intermediates(state, stay.union(more)))
    complete = set(kept) >= set(vocabulary(state).values())
    missing = 0.0 if complete else expected_share(lexicon, counts, min_count, more)
    small = prune(model, _plan(model, counts, count_tokens(model), kept))
    words = with_tokens(tokenizer, kept)
    check_same_splits(tokenizer, words, kept, data)
    return SmallVocabulary(small, words, missing)


def _with_nearest(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextData,
    min_count: int,
    extra: int,
    batches: Sequence[Batch] | None,
) -> SmallVocabulary:
    check_dropped(model, "nearest")
    _check_fit(model, tokenizer.get_vocab().values())
    counts = count_occurrences(tokenizer, data, count_tokens(model))
    lexicon = lexicon_as_it_is(tokenizer, _known(tokenizer))
    stay = lexicon.stay | _with_a_role(model) | _seen(counts, min_count)
    more = likeliest(lexicon, counts, stay, extra) if extra else []
    kept = stay.union(more)
    complete = kept >= set(lexicon.order)
    missing = 0.0 if complete else expected_share(lexicon, counts, min_count, more)
    if batches is None:
        batches = share_of(make_batches(data, tokenizer, samples=SAMPLES))
    demand = entry_demand(model, batches)
    rows, table = rows_of_tokens(model), table_of(model)
    needed = sorted({*rows[sorted(kept)].tolist()})
    metric = demand_metric(demand, TAU).to(table.device)
    found = nearest_rows(table, metric, torch.tensor(needed, device=table.device))
    plan = _plan(model, counts, len(table), needed, tuple(found.tolist()), rows)
    return SmallVocabulary(prune(model, Plan.from_json(as_the_first_says(plan.to_json()))), tokenizer, missing)


def _plan(
    model: PreTrainedModel,
    counts: Int[Tensor, " size"],
    units: int,
    kept: Sequence[int],
    stand_ins: tuple[int, ...] | None = None,
    rows: Int[Tensor, " size"] | None = None,
) -> Plan:
    """The plan of a cut; it loses nothing on the texts themselves if all that they have stays."""
    before = plan_of(model)
    needed = (counts > 0).nonzero()[:, 0] if rows is None else rows[counts > 0]
    return Plan(
        model.config.model_type,
        {VOCABULARY: units},
        {VOCABULARY: tuple(kept)},
        criterion="counts" if before is None else before.criterion,
        seed=0 if before is None else before.seed,
        nats_lost=0.0 if set(kept) >= set(needed.tolist()) else None,
        stand_ins=stand_ins,
    )


def _with_a_role(model: PreTrainedModel) -> set[int]:
    return {i for ids in tokens_by_role(model).values() for i in ids}


def _seen(counts: Int[Tensor, " size"], min_count: int) -> set[int]:
    return set((counts >= min_count).nonzero()[:, 0].tolist())


def _known(tokenizer: PreTrainedTokenizerBase) -> State | None:
    """What tokenizer.json holds, of a tokenizer that tells which tokens are common."""
    state = state_of(tokenizer) if tokenizer.is_fast else None
    return state if state is not None and state["model"].get("type") in KINDS else None


def _check_numbers(model: PreTrainedModel, min_count: int, extra: int) -> None:
    if min_count < 1:
        raise InputError(f"min_count is {min_count}, expected at least 1; 1 keeps every token seen (--min-count)")
    if extra < 0:
        raise InputError(f"{extra} extra tokens were asked for, expected 0 or more; 0 keeps none (--extra-tokens)")
    if count_tokens(model) == 0:
        raise InputError(f"{type(model).__name__} reads no tokens, expected a model of texts; leave vocabulary out")


def _check_fit(model: PreTrainedModel, tokens: Collection[int]) -> None:
    """Raises InputError where a tokenizer has more tokens than the model reads."""
    highest, size = max(tokens), count_tokens(model)
    if highest >= size:
        raise InputError(
            f"the tokenizer has {highest + 1} tokens and the model's embedding table {size}, expected no more than "
            "that; use the tokenizer that belongs to the model"
        )
