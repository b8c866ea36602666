"""Laws of tokens that texts do not have; oracles: texts without one occurrence, and a language whose law is known."""

import json

import pytest
import torch
import zoo
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from words import KINDS, SEEN, SENTENCES, tokenizer_for

from infoprune.data.texts import TextData
from infoprune.plan import VOCABULARY, plan_of
from infoprune.vocabulary.counts import count_occurrences
from infoprune.vocabulary.tokenizer_json import by_frequency, indispensable
from infoprune.vocabulary.tokens import prune_vocabulary
from infoprune.vocabulary.unseen import expected_share, lexicon_to_rewrite, likeliest


def state_of(tokenizer):
    return json.loads(tokenizer.backend_tokenizer.to_str())


def lexicon_of(tokenizer):
    return lexicon_to_rewrite(tokenizer, state_of(tokenizer))


def cut(model_type, data, **options):
    """The tokens that stay, and the small vocabulary."""
    tokenizer = tokenizer_for(model_type)
    small = prune_vocabulary(zoo.build(model_type, vocab_size=len(tokenizer)), tokenizer, data, **options)
    return plan_of(small.model).kept[VOCABULARY], small


def words(count):
    """A tokenizer of whole words, the commonest first, and of a word that it would split."""
    names = ["[UNK]", *"abcdefghij", "[odd]"]
    names += ["".join("abcdefghij"[int(digit)] for digit in f"{i:05}") for i in range(count)]
    backend = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]"), len(names) - count


@pytest.mark.parametrize("model_type", KINDS)
def test_extra_tokens_stay(model_type):
    before, small = cut(model_type, SEEN)
    more, large = cut(model_type, SEEN, extra_tokens=6)
    assert set(before) < set(more)
    assert len(more) >= len(before) + 6
    if "BPE" not in str(state_of(tokenizer_for(model_type))["model"]["type"]):
        assert len(more) == len(before) + 6
    assert large.missing < small.missing
    everything, whole = cut(model_type, SEEN, extra_tokens=10_000)
    assert set(everything) >= set(more)
    assert whole.missing == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("model_type", KINDS)
def test_the_commonest_come_first(model_type):
    """The oracle: the sentences that all of the tokenizers were trained on."""
    tokenizer = tokenizer_for(model_type)
    state, size = state_of(tokenizer), len(tokenizer)
    order = [i for i in by_frequency(state) if i not in indispensable(state)]
    counts = count_occurrences(tokenizer, TextData(SENTENCES, None, None, "all"), size)
    half = len(order) // 2
    assert counts[order[:half]].sum() > counts[order[half:]].sum()
    assert len(set(by_frequency(state))) == len(by_frequency(state)) == len(state["model"]["vocab"])


def test_seen_ones_come_before_unseen_ones():
    data = TextData(("the film the plot", "the film is dull"), None, None, "few")
    twice, _ = cut("bert", data, min_count=2)
    more, _ = cut("bert", data, min_count=2, extra_tokens=3)
    assert {tokenizer_for("bert").convert_ids_to_tokens(i) for i in set(more) - set(twice)} == {"plot", "is", "dull"}


def test_a_token_that_no_text_has_is_none_of_them():
    tokenizer, first = words(5)
    lexicon, counts = lexicon_of(tokenizer), torch.zeros(len(tokenizer), dtype=torch.long)
    assert likeliest(lexicon, counts, lexicon.stay, 3) == [first, first + 1, first + 2]


def test_padding_that_the_tokenizer_remembers_is_no_word():
    tokenizer, first = words(5)
    tokenizer.backend_tokenizer.enable_padding(length=16)
    lexicon, counts = lexicon_of(tokenizer), torch.zeros(len(tokenizer), dtype=torch.long)
    assert likeliest(lexicon, counts, lexicon.stay, 1) == [first]
    assert tokenizer.backend_tokenizer.padding["length"] == 16


@pytest.mark.parametrize("min_count", [1, 2, 3])
def test_the_estimate_is_that_of_texts_without_one_occurrence(min_count):
    """Leave one occurrence out, and see whether its token would have stayed."""
    tokenizer = tokenizer_for("bert")
    data = TextData(SENTENCES, None, None, "all")
    lexicon, counts = lexicon_of(tokenizer), count_occurrences(tokenizer, data, len(tokenizer))
    stay, special = lexicon.stay, set(tokenizer.all_special_ids)
    outcomes = []
    for token in counts.nonzero()[:, 0].tolist():
        for _ in range(int(counts[token])):
            if token not in special:
                outcomes.append(token not in stay and counts[token] - 1 < min_count)
    assert expected_share(lexicon, counts, min_count) == pytest.approx(sum(outcomes) / len(outcomes))


@pytest.mark.parametrize(("min_count", "extra"), [(1, 0), (2, 0), (3, 0), (1, 400), (1, 1000), (2, 150), (2, 2000)])
def test_the_estimate_holds_in_a_language_whose_law_is_known(min_count, extra):
    """Words whose probability falls with their number, as in a WordPiece vocabulary, but not strictly."""
    size = 6000
    tokenizer, first = words(size)
    generator = torch.Generator().manual_seed(0)
    law = torch.rand(size, generator=generator, dtype=torch.float64).neg().exp() / (torch.arange(size) + 30.0)
    law /= law.sum()
    sampled = torch.multinomial(law, 20_000, replacement=True, generator=generator)
    counts = torch.zeros(len(tokenizer), dtype=torch.long)
    counts[first:] = torch.bincount(sampled, minlength=size)
    lexicon = lexicon_of(tokenizer)
    kept = lexicon.stay | set((counts >= min_count).nonzero()[:, 0].tolist())
    more = likeliest(lexicon, counts, kept, extra) if extra else []
    kept |= set(more)
    gone = torch.tensor([first + i not in kept for i in range(size)])
    assert expected_share(lexicon, counts, min_count, more) == pytest.approx(float(law[gone].sum()), rel=0.06)
