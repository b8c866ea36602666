"""Batches as users have them: what is taken as it is, what is turned into tensors, and what is refused and why."""

import copy

import pytest
import torch
import zoo
from tiny import make_batches
from transformers import BertForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

import infoprune
from infoprune.data.batches import make_batches as batches_of
from infoprune.errors import InputError
from infoprune.statistics.accept import accept
from infoprune.statistics.collect import collect
from infoprune.statistics.padding import finds_end_by_padding
from infoprune.structure.positions import position_limit
from infoprune.tasks.compare import compare
from infoprune.tasks.evaluate import evaluate

BATCHES = make_batches()
CALLS = {
    "prune": lambda model, batches: infoprune.prune(model, batches, keep=0.5).model,
    "eval_batches": lambda model, batches: infoprune.prune(model, BATCHES, max_kl=9.0, eval_batches=batches).model,
    "collect": collect,
    "repair": lambda model, batches: infoprune.repair(copy.deepcopy(model), model, batches),
    "distill": lambda model, batches: infoprune.distill(copy.deepcopy(model), model, batches),
    "find_costs": lambda model, batches: infoprune.find_costs(model, "flops", batches),
    "evaluate": evaluate,
    "compare": lambda model, batches: compare(model, model, batches),
}


def as_lists(batch):
    return {name: value.tolist() for name, value in batch.items()}


def arrays(batch):
    return {name: value.numpy() for name, value in batch.items()}


FORMS = {
    "a tuple": tuple,
    "a generator": lambda batches: (batch for batch in batches),
    "lists": lambda batches: [as_lists(batch) for batch in batches],
    "arrays": lambda batches: [arrays(batch) for batch in batches],
    "what tokenizers add": lambda batches: [
        {**batch, "special_tokens_mask": batch["input_ids"], "overflow_to_sample_mapping": [0], "token_type_ids": None}
        for batch in batches
    ],
    "labels": lambda batches: [{**batch, "labels": [0] * len(batch["input_ids"])} for batch in batches],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_the_same_batches_become_the_same(tiny_bert, form):
    found = accept(tiny_bert, FORMS[form](BATCHES))
    for mine, given in zip(found, BATCHES, strict=True):
        assert mine.keys() - {"labels"} == given.keys()
        assert all(torch.equal(mine[name], value) for name, value in given.items())
        assert form != "labels" or mine["labels"].tolist() == [0] * len(given["input_ids"])


def test_what_needs_no_change_is_not_changed(tiny_bert):
    assert all(mine is given for mine, given in zip(accept(tiny_bert, BATCHES), BATCHES, strict=True))


def test_the_output_of_a_tokenizer_is_a_batch(tiny_bert, tokenizer):
    encoded = tokenizer(["good film", "bad"], padding=True, return_tensors="pt", return_special_tokens_mask=True)
    (batch,) = accept(tiny_bert, encoded)
    assert set(batch) == {"input_ids", "token_type_ids", "attention_mask"}
    assert len(evaluate(tiny_bert, [batch]).logits) == 2


def test_a_model_without_token_types_is_not_given_any(tokenizer):
    model = zoo.build("distilbert")
    (batch,) = accept(model, tokenizer(["good film"], return_tensors="pt"))
    assert "token_type_ids" not in batch


def changed(**values):
    return {**BATCHES[0], **values}


IDS = BATCHES[0]["input_ids"]
BAD = {
    "a token beyond the table": (
        [changed(input_ids=IDS + 99)],
        r"input_ids of batch 1 hold \d+, but the embedding table has 100 rows; call model.resize_token_embeddings",
    ),
    "a negative token": ([changed(input_ids=IDS - 100)], "hold -100, expected 0 or more; -100 is for labels alone"),
    "a token type too many": ([changed(token_type_ids=torch.full_like(IDS, 2))], "the table of token types has 2;"),
    "more tokens than positions": (
        [{"input_ids": torch.full((1, 65), 7)}],
        "have 65 tokens, expected at most the 64 positions of the model; make the batches with max_length=64",
    ),
    "numbers with a point": ([changed(input_ids=IDS.float())], "are torch.float32, expected integers"),
    "another shape": ([changed(attention_mask=torch.ones(4, 2))], r"shape \(4, 9\) and attention_mask \(4, 2\)"),
    "one text": ([{"input_ids": IDS[0]}], r"has the shape \(9,\), expected \(inputs, tokens\)"),
    "rows of other lengths": (
        [{"input_ids": [[1, 2], [3]]}],
        "expected rows of numbers of equal length; .*padding=True",
    ),
    "a name that is wrong": ([changed(attention_masks=IDS)], "has 'attention_masks', which BertForSequenceClass"),
    "no input": ([{"attention_mask": IDS}], "batch 1 has attention_mask, expected input_ids among them"),
    "texts": (["good film"], "batch 1 is 'good film', expected a dict of tensors; infoprune.make_batches"),
    "one text alone": ("good film", "batches are a str, expected a list of dicts"),
    "tuples": ([(IDS, IDS)], "batch 1 is a tuple, expected a dict of tensors"),
    "nothing": (None, "batches are a NoneType, expected a list"),
    "too few labels": ([changed(labels=torch.zeros(3))], r"labels of batch 1 have the shape \(3,\) for 4 inputs"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_does_not_fit_is_refused_in_one_line(tiny_bert, bad):
    batches, message = BAD[bad]
    with pytest.raises(InputError, match=message) as caught:
        accept(tiny_bert, batches)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
def test_every_entry_refuses_before_the_work(tiny_bert, call):
    passes = []
    tiny_bert.register_forward_hook(lambda *_: passes.append(1))
    with pytest.raises(InputError, match="resize_token_embeddings"):
        CALLS[call](tiny_bert, [*BATCHES, changed(input_ids=IDS + 99)])
    assert passes == []


def test_the_remedy_for_an_added_token_works_and_a_larger_table_is_fine(tiny_bert, tokenizer):
    tokenizer.add_tokens(["<movie>"])
    batches = batches_of(["a good <movie>", "bad"], tokenizer)
    with pytest.raises(InputError, match=r"token '<movie>' \(100\), .*100 rows for the 101 tokens .*embeddings\(101\)"):
        accept(tiny_bert, batches, tokenizer)
    assert accept(tiny_bert, batches_of(["good"], tokenizer), tokenizer), "a token that is not used does no harm"
    for rows in (101, 128):
        tiny_bert.resize_token_embeddings(rows)
        assert len(evaluate(tiny_bert, batches).logits) == 2


@pytest.mark.parametrize(
    ("name", "settings"), [("roberta", {}), ("gpt2", {}), ("opt", {}), ("bart", {}), ("distilbert", {}), ("llama", {})]
)
def test_the_limit_of_positions_is_where_a_pass_fails(name, settings):
    model = zoo.build(name, dtype=torch.float32, **settings)
    limit = position_limit(model)
    if name == "llama":
        assert limit is None
        return
    for length in (limit, limit + 1):
        ids = torch.full((1, length), 7)
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if model.config.is_encoder_decoder:
            given["decoder_input_ids"] = ids
        if length == limit:
            model(**given)
        else:
            with pytest.raises((IndexError, RuntimeError)):
                model(**given)


# Padding


@pytest.fixture
def decoder():
    """A decoder that classifies, without a padding token."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=64, pad_token_id=None)
        return GPT2ForSequenceClassification(config).eval()


def test_who_finds_the_end_by_padding(decoder, tiny_bert):
    assert finds_end_by_padding(decoder)
    assert not finds_end_by_padding(tiny_bert)
    assert BertForSequenceClassification is type(tiny_bert)


@pytest.mark.parametrize("named", [None, 3])
def test_the_remedy_for_another_padding_token_gives_the_logits_of_single_texts(decoder, named):
    decoder.config.pad_token_id = named
    with pytest.raises(InputError, match=r"by config.pad_token_id, which is .*set model.config.pad_token_id = 0$"):
        evaluate(decoder, BATCHES)
    decoder.config.pad_token_id = 0
    together = evaluate(decoder, BATCHES).logits
    alone = [
        decoder(row[mask.bool()][None]).logits
        for batch in BATCHES
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
