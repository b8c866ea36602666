"""Files, tokens and padding as users have them: what a command says of them, and that its advice works."""

import json

import pytest
import torch
from rows import write_rows
from transformers import BertForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

COMMANDS = {
    "prune": lambda model, out, data: ("prune", model, out, "--data", data),
    "prune --eval": lambda model, out, data: ("prune", model, out, "--data", data.parent / "plain.csv", "--eval", data),
    "collect": lambda model, out, data: ("collect", model, out, "--data", data),
    "evaluate": lambda model, out, data: ("evaluate", model, "--eval", data),
    "export": lambda model, out, data: ("export", model, f"{out}.onnx", "--data", data),
    "finetune": lambda model, out, data: ("finetune", model, out, "--data", data),
    "compare": lambda model, out, data: (
        *("compare", model, out, "--data", data, "--eval", data, "--criteria", "magnitude", "--keep", "0.5"),
    ),
    "bench": lambda model, out, data: ("bench", model, "--eval", data, "--batch-size", "1", "--repeats", "1"),
}


@pytest.fixture
def added(saved_bert, tokenizer, tmp_path):
    """A tokenizer with a token more than the model, texts with that token, and texts without it."""
    tokenizer.add_tokens(["<movie>"])
    tokenizer.save_pretrained(saved_bert)
    write_rows(tmp_path / "plain.csv", [("a good film", 1), ("a bad film", 0)] * 2)
    return write_rows(tmp_path / "added.csv", [("a good <movie>", 1), ("a bad <movie>", 0)] * 2)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_added_token_is_named_with_both_sizes_before_the_work(refused, saved_bert, added, out, command):
    words = ["'<movie>' (100)", "100 rows", "101 tokens", "resize_token_embeddings(101)"]
    refused(*COMMANDS[command](saved_bert, out, added), words=words)


def test_the_advice_for_an_added_token_works(run, saved_bert, added):
    model = BertForSequenceClassification.from_pretrained(saved_bert)
    model.resize_token_embeddings(101)
    model.save_pretrained(saved_bert)
    assert run("evaluate", saved_bert, "--eval", added)[0] == 0


def test_a_separator_is_said_in_one_line(run, saved_bert, reviews):
    expected = run("evaluate", saved_bert, "--eval", reviews)
    reviews.write_text(reviews.read_text().replace(",", ";"))
    status, printed, err = run("evaluate", saved_bert, "--eval", reviews)
    assert (status, printed) == (0, expected[1])
    assert err.startswith(f"warning: {reviews}: fields are separated by semicolons")
    assert len(err.splitlines()) == 1


def test_texts_that_say_nothing_are_told(run, saved_bert, tmp_path, out):
    options = (saved_bert, out, "--plan-only", "--force", "--data")
    for count, said in ((1, "there is one calibration text"), (40, "40 calibration texts hold 2 different ones")):
        rows = [("a good film", 1)] * (count - 1) + [("a bad film", 0)]
        status, _, err = run("prune", *options, write_rows(tmp_path / "same.csv", rows))
        assert status == 0
        assert [said in line for line in err.splitlines()].count(True) == 1


@pytest.mark.parametrize(("length", "least"), [(1, 3), (2, 3)])
def test_a_length_without_room_for_a_text(refused, saved_bert, reviews, out, length, least):
    words = [f"--max-length is {length}", "2 special tokens", f"--max-length {least}"]
    refused("prune", saved_bert, out, "--data", reviews, "--max-length", length, words=words)


# Padding


@pytest.fixture
def decoder(tmp_path, tokenizer):
    """The folder of a decoder that classifies; its config names no padding token, or the given one."""

    def build(named):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            sizes = {"vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
            model = GPT2ForSequenceClassification(GPT2Config(**sizes, pad_token_id=named, initializer_range=0.5))
        folder = tmp_path / "decoder"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return build


@pytest.mark.parametrize("named", [None, 7])
def test_figures_of_a_decoder_do_not_depend_on_the_batch(run, decoder, reviews, named):
    folder = decoder(named)
    printed = set()
    for size in ("1", "3", "16"):
        status, text, err = run("evaluate", folder, "--eval", reviews, "--batch-size", size)
        assert status == 0
        assert f"names {'no token' if named is None else 'token 7'} as padding and the tokenizer pads with 0" in err
        assert len(err.splitlines()) == 1
        printed.add(text)
    assert len(printed) == 1


def test_the_padding_token_is_named_in_what_is_saved(run, decoder, reviews, out):
    status, _, err = run("prune", decoder(None), out, "--data", reviews, "--keep", "0.5")
    assert status == 0
    assert "0 is used, and named in what is saved" in err
    assert json.loads((out / "config.json").read_text())["pad_token_id"] == 0
    assert run("evaluate", out, "--eval", reviews, "--batch-size", "5")[2] == ""


def test_a_decoder_without_any_padding_token_is_trained_by_its_end_of_text(run, decoder, reviews, out, tokenizer):
    folder = decoder(None)
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    tokenizer.save_pretrained(folder)
    status, _, err = run("finetune", folder, out, "--data", reviews, "--epochs", "0.1")
    assert status == 0, err
    assert "pads with 3 ([SEP])" in err
    assert json.loads((out / "config.json").read_text())["pad_token_id"] == 3
