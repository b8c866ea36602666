"""Tokens: remove tokens that the user's texts never need from the embedding table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from infoprune.data.batches import default_max_length, make_batches
from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.plan import VOCABULARY, Plan, check_same_tokens, plan_of
from infoprune.processes import as_the_first_says, share_of
from infoprune.statistics.calibration import Batch
from infoprune.statistics.embedding_fisher import embedding_fisher
from infoprune.statistics.metric import fisher_metric
from infoprune.structure.embeddings import count_tokens, counts_positions_from_padding, tokens_by_role
from infoprune.structure.modes import in_ordinary_mode
from infoprune.structure.plain import on_plain_model
from infoprune.structure.token_remapping import rows_of_tokens, table_of
from infoprune.surgery import apply_plan
from infoprune.vocabulary.counts import count_occurrences
from infoprune.vocabulary.dropped import Dropped, check_dropped, default_for
from infoprune.vocabulary.remapping import remap_tokens
from infoprune.vocabulary.rewrite import check_same_splits, state_of, with_tokens
from infoprune.vocabulary.tokenizer_json import MODEL_TYPES, State, vocabulary, with_intermediates
from infoprune.vocabulary.unseen import expected_share, lexicon_as_it_is, lexicon_to_rewrite, likeliest

SAMPLES = 1024
"""Texts sampled to measure the output Fisher information at the embeddings."""
TAU = 0.1
"""Shrinkage of the metric, as in `ChannelInformation`."""


@dataclass(frozen=True)
class SmallVocabulary:
    """Model with fewer rows in its embedding table, and the matching tokenizer.

    Args:
        model: Pruned model with its plan, whose site "vocabulary" lists the kept tokens.
        tokenizer: Tokenizer for the model's inputs from now on; the original one where dropped tokens are remapped.
        missing: Estimated share of the tokens of new, similar texts that are not among the kept tokens; estimated from
            the texts in which tokens were counted.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    missing: float


@in_ordinary_mode
@on_plain_model
def prune_vocabulary(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextData,
    *,
    min_count: int = 1,
    extra_tokens: int = 0,
    dropped_tokens: Dropped | None = None,
    batches: Sequence[Batch] | None = None,
) -> SmallVocabulary:
    """Return a copy of the model without the rows of tokens that are rare in some texts, and a matching tokenizer.

    Outputs for texts whose tokens are all kept are bitwise identical. `dropped_tokens` sets how other tokens are
    handled:

    - "pieces": the tokenizer splits their words into shorter kept tokens, at the shortest into single characters.
      Tokens are renumbered, and a stock config can specify the size of the table. A language model loses the outputs
      for the dropped tokens: its softmax is over the others. Prune the vocabulary before anything that needs batches
      (`collect`, `prune`, `distill`), and make the batches with the new tokenizer.
    - "remap": tokenizer and numbers are not changed. For a dropped token the model reads the row of the kept token that
      changes its outputs least: the closest one in the metric of the output Fisher information at the embeddings. Only
      after `import infoprune` transformers can load the saved model. Not for models that predict tokens.

    Args:
        model: Model of a supported family that reads tokens; not changed.
        tokenizer: Its tokenizer; not changed. For "pieces" a fast one of type WordPiece, BPE or Unigram.
        data: All texts in which tokens are counted, not a sample of them.
        min_count: Occurrences that a token needs to be kept. Special and added tokens are always kept; for "pieces"
            also single characters and the tokens from which a kept token is merged.
        extra_tokens: Number of further tokens to keep, the likeliest in new texts: first tokens with fewer than
            `min_count` occurrences, then the commonest in the language as far as the tokenizer shows it.
        dropped_tokens: "remap" or "pieces"; None means "remap" where only `infoprune.load` could load the model anyway
            and it predicts no tokens, else "pieces".
        batches: Inputs on which "remap" measures the output Fisher information; by default 1,024 of the texts.

    Returns:
        The pruned model, its tokenizer, and the expected share of dropped tokens in new texts.

    Raises:
        InputError: The tokenizer or the model does not support the request, they do not match each other, or a number
            is out of range.

    Examples:
        >>> small = infoprune.prune_vocabulary(model, tokenizer, infoprune.read_texts("reviews.csv"))
        >>> len(small.tokenizer) < len(tokenizer)
        True
        >>> infoprune.save(small.model, "small", small.tokenizer)
    """
    family = FAMILIES.get(model.config.model_type)
    if family is not None and family.reads_tokens and not family.cuts_vocabulary:
        raise InputError(
            f"the vocabulary of a {family.model_type} cannot be cut, expected a model of texts alone that reads every "
            "token alike; leave vocabulary out of `structures`"
        )
    _check_numbers(model, min_count, extra_tokens)
    if (dropped_tokens or default_for(model)) == "remap":
        return _with_remapping(model, tokenizer, data, min_count, extra_tokens, batches)
    return _in_pieces(model, tokenizer, data, min_count, extra_tokens)


def with_tokens_of(dense: PreTrainedModel, small: PreTrainedModel) -> PreTrainedModel:
    """Return the dense model, or a copy without the small one's dropped tokens, so that both read the same numbers.

    Raises:
        InputError: The dense model did not have the small model's tokens before pruning.
    """
    plan, before = plan_of(small), plan_of(dense)
    if plan is None or plan.numbering is None or (before is not None and VOCABULARY in before.kept):
        check_same_tokens(small, dense)
        return dense
    part = {VOCABULARY: plan.units[VOCABULARY]}, {VOCABULARY: plan.kept[VOCABULARY]}
    return apply_plan(dense, Plan(dense.config.model_type, *part, plan.criterion, plan.seed))


def _in_pieces(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: TextData, min_count: int, extra_tokens: int
) -> SmallVocabulary:
    check_dropped(model, "pieces")
    state = state_of(tokenizer)
    _check_fit(model, vocabulary(state).values())
    counts = count_occurrences(tokenizer, data, count_tokens(model))
    lexicon = lexicon_to_rewrite(tokenizer, state)
    stay = lexicon.stay | _with_a_role(model) | _seen(counts, min_count)
    if counts_positions_from_padding(model):
        stay |= set(range(tokens_by_role(model).get("pad_token_id", (0,))[0]))
    more = likeliest(lexicon, counts, with_intermediates(state, stay), extra_tokens) if extra_tokens else []
    kept = sorted(with_intermediates(state, stay.union(more)))
    complete = set(kept) >= set(vocabulary(state).values())
    missing = 0.0 if complete else expected_share(lexicon, counts, min_count, more)
    small = apply_plan(model, _plan(model, counts, count_tokens(model), kept))
    words = with_tokens(tokenizer, kept)
    check_same_splits(tokenizer, words, kept, data)
    return SmallVocabulary(small, words, missing)


def _with_remapping(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextData,
    min_count: int,
    extra_tokens: int,
    batches: Sequence[Batch] | None,
) -> SmallVocabulary:
    check_dropped(model, "remap")
    _check_fit(model, tokenizer.get_vocab().values())
    counts = count_occurrences(tokenizer, data, count_tokens(model))
    lexicon = lexicon_as_it_is(tokenizer, _known(tokenizer))
    stay = lexicon.stay | _with_a_role(model) | _seen(counts, min_count)
    more = likeliest(lexicon, counts, stay, extra_tokens) if extra_tokens else []
    kept = stay.union(more)
    complete = kept >= set(lexicon.order)
    missing = 0.0 if complete else expected_share(lexicon, counts, min_count, more)
    if batches is None:
        longest = default_max_length(tokenizer, model.config)
        batches = share_of(make_batches(data, tokenizer, samples=SAMPLES, max_length=longest))
    fisher = embedding_fisher(model, batches)
    rows, table = rows_of_tokens(model), table_of(model)
    needed = sorted({*rows[sorted(kept)].tolist()})
    metric = fisher_metric(fisher, TAU).to(table.device)
    found = remap_tokens(table, metric, torch.tensor(needed, device=table.device))
    plan = _plan(model, counts, len(table), needed, tuple(found.tolist()), rows)
    return SmallVocabulary(apply_plan(model, Plan.from_json(as_the_first_says(plan.to_json()))), tokenizer, missing)


def _plan(
    model: PreTrainedModel,
    counts: Int[Tensor, " size"],
    units: int,
    kept: Sequence[int],
    token_map: tuple[int, ...] | None = None,
    rows: Int[Tensor, " size"] | None = None,
) -> Plan:
    """Return the plan for the kept rows; its loss is 0 on the texts themselves if all their tokens are kept."""
    before = plan_of(model)
    needed = (counts > 0).nonzero()[:, 0] if rows is None else rows[counts > 0]
    return Plan(
        model.config.model_type,
        {VOCABULARY: units},
        {VOCABULARY: tuple(kept)},
        criterion="counts" if before is None else before.criterion,
        seed=0 if before is None else before.seed,
        nats_lost=0.0 if set(kept) >= set(needed.tolist()) else None,
        token_map=token_map,
    )


def _with_a_role(model: PreTrainedModel) -> set[int]:
    return {i for ids in tokens_by_role(model).values() for i in ids}


def _seen(counts: Int[Tensor, " size"], min_count: int) -> set[int]:
    return set((counts >= min_count).nonzero()[:, 0].tolist())


def _known(tokenizer: PreTrainedTokenizerBase) -> State | None:
    """Return the contents of tokenizer.json where they show which tokens are common."""
    state = state_of(tokenizer) if tokenizer.is_fast else None
    return state if state is not None and state["model"].get("type") in MODEL_TYPES else None


def _check_numbers(model: PreTrainedModel, min_count: int, extra_tokens: int) -> None:
    if min_count < 1:
        raise InputError(f"`min_count` is {min_count}, expected at least 1; 1 keeps every token seen")
    if extra_tokens < 0:
        raise InputError(f"`extra_tokens` is {extra_tokens}, expected 0 or more; 0 keeps none besides")
    if count_tokens(model) == 0:
        raise InputError(
            f"{type(model).__name__} reads no tokens, expected a model of texts; leave vocabulary out of `structures`"
        )


def _check_fit(model: PreTrainedModel, tokens: Collection[int]) -> None:
    """Raise InputError where a tokenizer has more tokens than the model reads."""
    highest, size = max(tokens), count_tokens(model)
    if highest >= size:
        raise InputError(
            f"the tokenizer has {highest + 1} tokens and the model's embedding table {size}, expected no more than "
            "that; use the tokenizer that belongs to the model"
        )
