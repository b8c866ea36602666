"""Batches of texts, and labels as numbers."""

import jaxtyping
import pytest
import torch
from transformers import BertConfig, RobertaConfig, T5Config

from infoprune.data.batches import default_max_length, label_ids, label_numbers, make_batches
from infoprune.data.texts import TextData
from infoprune.errors import InputError


def test_labels_become_class_numbers_by_name():
    config = BertConfig(id2label={0: "neg", 1: "pos"}, label2id={"neg": 0, "pos": 1})
    assert label_ids(["pos", "neg", "pos"], config) == [1, 0, 1]
    with pytest.raises(InputError, match=r"labels '0', 'meh' are unknown .* 'neg', 'pos'; rename .*`label`$"):
        label_ids(["pos", "meh", "0"], config)


def test_labels_may_be_numbers_where_the_names_say_nothing():
    config = BertConfig(num_labels=3)
    assert label_ids(["2", "LABEL_1", "0"], config) == [2, 1, 0]
    with pytest.raises(InputError, match="labels '3' are unknown"):
        label_ids(["3"], config)


def test_a_model_without_names_of_labels():
    config = BertConfig(label2id={}, id2label={0: None, 1: None})
    config.label2id = {}
    with pytest.raises(InputError, match=r"config.json names no labels, .*write `id2label` there"):
        label_ids(["pos"], config)


def test_regression_labels_are_numbers():
    assert label_numbers(["1", "2.5"]) == [1.0, 2.5]
    for label in ("pos", "nan", "-inf", "1e999"):
        with pytest.raises(InputError, match=f"label '{label}' is not a number"):
            label_numbers(["1", label])


def test_the_longest_input_is_what_tokenizer_and_model_allow(tokenizer):
    assert default_max_length(tokenizer, BertConfig(max_position_embeddings=40)) == 40
    assert default_max_length(tokenizer, BertConfig(max_position_embeddings=4000)) == 64
    assert default_max_length(tokenizer, RobertaConfig(max_position_embeddings=34, pad_token_id=1)) == 32
    assert default_max_length(tokenizer, T5Config()) == 64


def data_of(count):
    return TextData(
        tuple("good " * (1 + 7 * row % 11) for row in range(count)), None, tuple(map(str, range(count))), "memory"
    )


def test_batches_hold_each_input_once_with_its_label(tokenizer):
    data = data_of(23)
    batches = make_batches(data, tokenizer, batch_size=4, labels=list(range(23)))
    assert [len(batch["labels"]) for batch in batches] == [4, 4, 4, 4, 4, 3]
    seen = {}
    for batch in batches:
        assert set(batch) == {"input_ids", "token_type_ids", "attention_mask", "labels"}
        for ids, mask, label in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
            seen[int(label)] = ids[mask.bool()].tolist()
            assert (ids[~mask.bool()] == tokenizer.pad_token_id).all()
    assert seen == {row: tokenizer(data.texts[row])["input_ids"] for row in range(23)}


def test_batches_are_padded_as_little_as_sorting_allows(tokenizer):
    batches = make_batches(data_of(23), tokenizer, batch_size=4)
    lengths = torch.cat([batch["attention_mask"].sum(1) for batch in batches])
    assert (lengths.diff() >= 0).all()
    assert all(batch["attention_mask"].sum(1).max() == batch["input_ids"].shape[1] for batch in batches)


def test_batches_equal_those_of_the_tokenizers_own_padding(tokenizer):
    data = TextData(("good film", "the plot is dull"), ("bad", "a film"), None, "memory")
    (batch,) = make_batches(data, tokenizer)
    expected = tokenizer(list(data.texts), list(data.pairs), padding=True, return_tensors="pt")
    assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_a_sample_is_drawn_without_replacement_by_the_seed(tokenizer):
    def sampled(seed, samples=10):
        batches = make_batches(data_of(50), tokenizer, labels=list(range(50)), samples=samples, seed=seed)
        return torch.cat([batch["labels"] for batch in batches]).tolist()

    assert len(set(sampled(0))) == 10
    assert sampled(0) == sampled(0)
    assert set(sampled(0)) != set(sampled(1))
    assert sorted(sampled(0, samples=80)) == list(range(50))


def test_the_draw_leaves_the_global_generator_alone(tokenizer):
    before = torch.random.get_rng_state()
    make_batches(data_of(5), tokenizer, samples=2)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("settings", [None, {"max_length": 7}])
def test_a_tokenizer_is_saved_as_it_came(tokenizer, tmp_path, settings):
    backend = tokenizer.backend_tokenizer
    if settings:
        backend.enable_truncation(**settings)
        backend.enable_padding(length=7, pad_id=0, pad_token="[PAD]")
    before = backend.to_str()
    make_batches(data_of(5), tokenizer, max_length=9)
    assert backend.to_str() == before


def test_inputs_are_cut_at_max_length(tokenizer):
    data = TextData(("good " * 500,), None, None, "memory")
    assert make_batches(data, tokenizer, max_length=9)[0]["input_ids"].shape == (1, 9)
    assert make_batches(data, tokenizer)[0]["input_ids"].shape == (1, 64)


def test_targets_keep_their_type(tokenizer):
    (numbers,) = make_batches(data_of(2), tokenizer, labels=[0.5, 1.5])
    (several,) = make_batches(data_of(2), tokenizer, labels=[[0.0, 1.0], [1.0, 1.0]])
    assert numbers["labels"].dtype == torch.float32
    assert several["labels"].shape == (2, 2)


@pytest.mark.parametrize("name", ["batch_size", "max_length", "samples"])
def test_counts_below_one_are_refused(tokenizer, name):
    with pytest.raises(InputError, match=f"`{name}` is 0, expected at least 1; pass a positive number"):
        make_batches(data_of(2), tokenizer, **{name: 0})


def test_data_that_gives_no_batch_is_refused(tokenizer):
    with pytest.raises(InputError, match="memory: no texts"):
        make_batches(TextData((), None, None, "memory"), tokenizer)
    with pytest.raises(InputError, match="1 labels for 2 texts"):
        make_batches(data_of(2), tokenizer, labels=[1])
    bare = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer.from_str(tokenizer.backend_tokenizer.to_str()))
    with pytest.raises(InputError, match=r"neither a padding nor an end-of-text token.*set tokenizer\.pad_token"):
        make_batches(data_of(2), bare)
    bare.eos_token = "[SEP]"
    assert make_batches(data_of(2), bare)[0]["input_ids"][0, -1] == bare.eos_token_id


def test_a_list_of_texts_is_enough(tokenizer):
    (batch,) = make_batches(["good film", "bad"], tokenizer)
    (same,) = make_batches(TextData(("good film", "bad"), None, None, "memory"), tokenizer)
    assert all(torch.equal(batch[name], same[name]) for name in same)
    with pytest.raises(InputError, match=r"one text was given \('good film'\), expected several .*pass \[text\]"):
        make_batches("good film", tokenizer)


@pytest.mark.parametrize("value", [None, float("nan"), 5, ["a", "b"], "\ud800"])
def test_what_is_no_text_is_named_by_its_row(monkeypatch, value):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users call it: nothing else checks the types
    with pytest.raises(InputError, match=r"memory: text 2 .*; (fill|write|join|remove)"):
        TextData(("good", value), None, None, "memory")
    with pytest.raises(InputError, match="memory: second text 1"):
        TextData(("good",), (value,), None, "memory")
    with pytest.raises(InputError, match="memory: label 1"):
        TextData(("good",), None, (value,), "memory")


def test_texts_that_are_all_blank_are_refused_and_some_may_be(tokenizer):
    with pytest.raises(InputError, match="memory: all texts are blank, expected some with words"):
        make_batches(TextData(("", "  "), None, None, "memory"), tokenizer)
    assert len(make_batches(TextData(("", "good"), None, None, "memory"), tokenizer)[0]["input_ids"]) == 2


@pytest.mark.parametrize(("pairs", "least"), [(None, 3), (("bad", "bad"), 4)])
def test_a_length_must_leave_room_for_a_text(tokenizer, pairs, least):
    data = TextData(("good film", "good"), pairs, None, "memory")
    with pytest.raises(InputError, match=f"`max_length` is {least - 1}, .*pass `max_length={least}` or more"):
        make_batches(data, tokenizer, max_length=least - 1)
    assert make_batches(data, tokenizer, max_length=least)[0]["input_ids"].shape == (2, least)
