"""Laws of a smaller vocabulary; the oracles are the tokenizer and the model before the cut."""

import copy
import random

import pytest
import torch
import zoo
from cuts import EXTRA, dense
from transformers import AutoTokenizer
from words import KINDS, SEEN, SENTENCES, tokenizer_for

from infoprune.checkpoint import load, save
from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.plan import VOCABULARY, plan_of
from infoprune.repairing.repair import repair
from infoprune.structure.embeddings import count_rows, count_tokens
from infoprune.training.distill import distill
from infoprune.vocabulary.tokens import prune_vocabulary, with_tokens_of


def kept_of(small):
    return plan_of(small.model).kept[VOCABULARY]


def outputs(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits


def nonsense(seed, words=400):
    """New words of the characters of the seen texts."""
    seed_run = random.Random(seed)
    letters = sorted(set("".join(SEEN.texts)))
    return [
        " ".join("".join(seed_run.choices(letters, k=seed_run.randint(1, 9))) for _ in range(4)).strip()
        for _ in range(words // 4)
    ]


@pytest.mark.parametrize("model_type", KINDS)
def test_texts_of_kept_tokens_are_split_as_before(model_type):
    model, tokenizer = dense(model_type)
    small = prune_vocabulary(model, tokenizer, SEEN)
    number = {old: new for new, old in enumerate(kept_of(small))}
    words = " ".join(SEEN.texts).split()
    mixed = [" ".join(random.Random(seed).sample(words, 9)) for seed in range(20)]
    covered = 0
    for text in (*SEEN.texts, *mixed, *SENTENCES, *nonsense(0)):
        before, after = tokenizer(text)["input_ids"], small.tokenizer(text)["input_ids"]
        if number.keys() >= set(before):
            covered += 1
            assert [number[i] for i in before] == after
            assert tokenizer.convert_ids_to_tokens(before) == small.tokenizer.convert_ids_to_tokens(after)
    assert covered > 24
    assert any(number.keys() < set(tokenizer(text)["input_ids"]) | number.keys() for text in SENTENCES), "all covered"
    pair = dict(text=SEEN.texts[0], text_pair=SEEN.texts[1])
    assert [number[i] for i in tokenizer(**pair)["input_ids"]] == small.tokenizer(**pair)["input_ids"]


@pytest.mark.parametrize("model_type", KINDS)
def test_what_could_be_spelled_still_can_be(model_type):
    model, tokenizer = dense(model_type)
    small = prune_vocabulary(model, tokenizer, SEEN).tokenizer
    for text in (*SENTENCES, *nonsense(1)):
        unknown = tokenizer.unk_token_id in tokenizer(text, add_special_tokens=False)["input_ids"]
        assert (small.unk_token_id in small(text, add_special_tokens=False)["input_ids"]) <= unknown
        if not unknown:
            spelled = [t.decode(t(text)["input_ids"], skip_special_tokens=True) for t in (tokenizer, small)]
            assert spelled[0] == spelled[1]


@pytest.mark.parametrize("model_type", KINDS)
def test_the_folder_opens_in_plain_transformers_and_answers_as_before(model_type, tmp_path):
    model, tokenizer = dense(model_type, dtype=torch.float32)
    small = prune_vocabulary(model, tokenizer, SEEN)
    save(small.model, tmp_path / "out", small.tokenizer)
    theirs = zoo.kind_of(model_type).from_pretrained(tmp_path / "out").eval()
    own, words = load(tmp_path / "out"), AutoTokenizer.from_pretrained(tmp_path / "out")
    kept = list(kept_of(small))
    assert plan_of(own) == plan_of(small.model)
    assert theirs.config.vocab_size == count_tokens(theirs) == len(kept)
    for text in (*SEEN.texts, "film thin"):
        before, after = outputs(model, tokenizer(text)["input_ids"]), words(text)["input_ids"]
        # a language model says less: the softmax is over the tokens that are left
        before = before[..., kept] if before.shape[-1] == len(tokenizer) + EXTRA else before
        torch.testing.assert_close(outputs(small.model, after), before, rtol=0, atol=1e-5)
        assert torch.equal(outputs(own, after), outputs(small.model, after))
        torch.testing.assert_close(outputs(theirs, after), before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", KINDS)
def test_special_tokens_keep_their_roles(model_type):
    model, tokenizer = dense(model_type)
    small = prune_vocabulary(model, tokenizer, SEEN)
    assert small.tokenizer.special_tokens_map == tokenizer.special_tokens_map
    number = {old: new for new, old in enumerate(kept_of(small))}
    for i, token in tokenizer.added_tokens_decoder.items():
        assert small.tokenizer.added_tokens_decoder[number[i]] == token
    for config in (small.model.config, getattr(small.model, "generation_config", None)):
        for role in ("pad", "bos", "eos"):
            if getattr(tokenizer, f"{role}_token") is not None and config is not None:
                assert getattr(config, f"{role}_token_id") == getattr(small.tokenizer, f"{role}_token_id")
    pad = small.tokenizer.pad_token_id
    table = small.model.get_input_embeddings()
    assert table.padding_idx in (None, pad)
    assert (table.padding_idx is None) == (model.get_input_embeddings().padding_idx is None)


@pytest.mark.parametrize("tied", [True, False])
def test_the_output_layer_goes_with_the_table(tied):
    model, tokenizer = dense("llama", tie_word_embeddings=tied)
    small = prune_vocabulary(model, tokenizer, SEEN).model
    table, head = small.get_input_embeddings(), small.get_output_embeddings()
    assert (table.weight is head.weight) == tied
    assert len(table.weight) == len(head.weight) == table.num_embeddings == head.out_features == small.config.vocab_size
    batch = {"input_ids": torch.tensor([[1, 5, 6]]), "labels": torch.tensor([[1, 5, 6]])}
    assert torch.isfinite(small(**batch).loss)


def test_the_output_bias_goes_too():
    model = zoo.build("bert", auto="AutoModelForMaskedLM", vocab_size=160)
    tokenizer = tokenizer_for("bert")
    small = prune_vocabulary(model, tokenizer, SEEN)
    text = SEEN.texts[0]
    before, after = tokenizer(text)["input_ids"], small.tokenizer(text)["input_ids"]
    wanted = outputs(model, before)[..., list(kept_of(small))]
    torch.testing.assert_close(outputs(small.model, after), wanted, rtol=0, atol=1e-12)
    bias = small.model.get_output_embeddings().bias
    assert len(bias) == len(kept_of(small))


def test_what_must_not_be_said_is_still_not_said():
    model, tokenizer = dense("llama")
    first = prune_vocabulary(model, tokenizer, SEEN)
    gone = next(i for i in range(len(tokenizer)) if i not in kept_of(first))
    there = kept_of(first)[-1]
    model.generation_config.suppress_tokens = [there, gone]
    model.generation_config.bad_words_ids = [[gone, there], [1, there]]
    small = prune_vocabulary(model, tokenizer, SEEN).model.generation_config
    assert small.suppress_tokens == [len(kept_of(first)) - 1]
    assert small.bad_words_ids == [[1, len(kept_of(first)) - 1]]


def test_two_vocabularies_in_one_model():
    model = zoo.build("marian", vocab_size=160, share_encoder_decoder_embeddings=False, tie_word_embeddings=False)
    with pytest.raises(InputError, match="vocabularies of their own"):
        prune_vocabulary(model, tokenizer_for("bert"), SEEN)


def test_nothing_of_what_was_given_changes():
    model, tokenizer = dense("roberta")
    weights, config = copy.deepcopy(model.state_dict()), model.config.to_dict()
    words = tokenizer.get_vocab()
    prune_vocabulary(model, tokenizer, SEEN)
    assert tokenizer.get_vocab() == words
    assert model.config.to_dict() == config
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert plan_of(model) is None


@pytest.mark.parametrize("model_type", KINDS)
def test_a_second_cut_on_the_same_texts_finds_nothing(model_type):
    model, tokenizer = dense(model_type)
    everything = list(range(len(tokenizer)))
    texts = tuple(tokenizer.convert_ids_to_tokens(everything)) + SENTENCES
    small = prune_vocabulary(model, tokenizer, TextData(texts, None, None, "all"))
    again = prune_vocabulary(small.model, small.tokenizer, TextData(texts, None, None, "all"))
    assert again.tokenizer.get_vocab() == small.tokenizer.get_vocab(), "it comes to rest"
    assert kept_of(again) == kept_of(small)
    assert again.missing == 0, "no token is left that new texts could miss"


def test_rare_tokens_go():
    model, tokenizer = dense("bert")
    texts = TextData(("the film the plot", "the film is dull"), None, None, "few")
    once, twice = (prune_vocabulary(model, tokenizer, texts, min_count=n) for n in (1, 2))
    assert once.tokenizer.tokenize("the plot") == ["the", "plot"]
    assert twice.tokenizer.tokenize("the plot") == ["the", "p", "##l", "##o", "##t"]
    assert set(kept_of(twice)) < set(kept_of(once))
    assert plan_of(once.model).nats_lost == 0
    assert plan_of(twice.model).nats_lost is None, "nothing has measured what this costs"


def test_all_texts_count_and_none_is_cut_short():
    model, tokenizer = dense("bert")
    long = TextData(("the " * 100 + "film",), ("the " * 100 + "plot",), None, "long")
    small = prune_vocabulary(model, tokenizer, long).tokenizer
    assert small.tokenize("the film plot") == ["the", "film", "plot"]


def test_two_cuts_are_one():
    model, tokenizer = dense("bert")
    more = TextData(SENTENCES, None, None, "all")
    first = prune_vocabulary(model, tokenizer, more)
    second = prune_vocabulary(first.model, first.tokenizer, SEEN)
    once = prune_vocabulary(model, tokenizer, SEEN)
    assert second.tokenizer.get_vocab() == once.tokenizer.get_vocab()
    assert plan_of(second.model) == plan_of(once.model)


def test_other_sites_are_cut_after_it(tmp_path):
    model, tokenizer = dense("bert", dtype=torch.float32)
    small = prune_vocabulary(model, tokenizer, SEEN)
    batches = make_batches(SEEN, small.tokenizer, max_length=32)
    result = prune(small.model, batches, keep=0.5, structures=("ffn",))
    assert result.plan.counts[VOCABULARY] == (len(kept_of(small)), len(tokenizer) + EXTRA)
    assert result.plan.counts["layers.0.ffn"] == (20, 40)
    assert result.plan.criterion == "information"
    assert result.report.loads_in == "transformers"
    save(result.model, tmp_path / "out", small.tokenizer)
    assert torch.equal(outputs(load(tmp_path / "out"), [2, 5, 3]), outputs(result.model, [2, 5, 3]))
    later = prune_vocabulary(result.model, small.tokenizer, TextData(("the film",), None, None, "one"))
    assert plan_of(later.model).criterion == "information", "what chose the units is not forgotten"
    assert plan_of(later.model).kept["layers.0.ffn"] == result.plan.kept["layers.0.ffn"]


def test_a_padding_token_that_positions_are_numbered_from_stays_in_place():
    model = zoo.build("roberta", vocab_size=500, pad_token_id=7, bos_token_id=0, eos_token_id=2)
    small = prune_vocabulary(model, tokenizer_for("roberta"), SEEN)
    assert kept_of(small)[:8] == tuple(range(8))


def test_a_teacher_reads_what_the_small_model_reads():
    model, tokenizer = dense("bert")
    small = prune_vocabulary(model, tokenizer, SEEN).model
    teacher = with_tokens_of(model, small)
    assert teacher is not model
    assert torch.equal(outputs(teacher, [2, 5, 3]), outputs(small, [2, 5, 3]))
    assert with_tokens_of(teacher, small) is teacher
    assert with_tokens_of(model, model) is model


# What is refused


def test_a_teacher_that_reads_other_numbers():
    model, tokenizer = dense("bert")
    small = prune_vocabulary(model, tokenizer, SEEN).model
    batches = [{"input_ids": torch.tensor([[2, 5, 3]])}]
    for compare in (repair, distill):
        with pytest.raises(InputError, match=r"same tokens.*with_tokens_of"):
            compare(small, model, batches)
    with pytest.raises(InputError, match="vocabulary, which has 90"):
        with_tokens_of(zoo.build("bert", vocab_size=90), small)


def test_tokens_added_after_a_cut(tmp_path):
    """As to any model: the folder is whole, the new tokens have rows, and the old ones answer as before."""
    small = prune_vocabulary(*dense("bert"), SEEN)
    save(small.model, tmp_path / "out", small.tokenizer)
    model, tokenizer = load(tmp_path / "out"), AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer(SEEN.texts[0])["input_ids"]
    before = outputs(model, ids)
    assert tokenizer.add_tokens(["<movie>", "<actor>"]) == 2
    model.resize_token_embeddings(len(tokenizer))
    save(model, tmp_path / "more", tokenizer)
    again = load(tmp_path / "more")
    assert count_rows(again) == len(tokenizer)
    assert plan_of(again) == plan_of(model)
    assert torch.equal(outputs(again, ids), before)
    assert torch.isfinite(outputs(again, tokenizer("<movie>")["input_ids"])).all()
