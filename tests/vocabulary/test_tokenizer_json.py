"""Tokenizers of a few tokens, by hand."""

import json

import pytest
from tokenizers import Tokenizer, models

from infoprune.errors import InputError
from infoprune.vocabulary.tokenizer_json import indispensable, restricted, vocabulary, with_intermediates


def state_of(model, **parts):
    return json.loads(Tokenizer(model).to_str()) | parts


def split(state, text):
    return Tokenizer.from_str(json.dumps(state)).encode(text).tokens


def bpe(merges, **settings):
    tokens = sorted({letter for pair in merges for letter in "".join(pair)}) + ["".join(pair) for pair in merges]
    return state_of(models.BPE({t: i for i, t in enumerate(dict.fromkeys(tokens))}, merges, **settings))


def kept_by(state, *tokens):
    return with_intermediates(state, indispensable(state) | {vocabulary(state)[token] for token in tokens})


def words(state, kept):
    return {token for token, i in vocabulary(state).items() if i in kept}


def test_merges_lead_to_every_token():
    state = bpe([("a", "b"), ("c", "d"), ("ab", "cd"), ("d", "a")])
    kept = kept_by(state, "abcd")
    assert words(state, kept) == {"a", "b", "c", "d", "ab", "cd", "abcd"}
    assert split(restricted(state, kept), "abcdda") == ["abcd", "d", "a"]


def test_of_two_ways_to_a_token_the_one_that_is_taken_stays():
    state = bpe([("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")])
    assert split(state, "abc") == ["abc"]
    kept = kept_by(state, "abc")
    assert words(state, kept) == {"a", "b", "c", "bc", "abc"}
    assert split(restricted(state, kept), "abc") == ["abc"]


def test_the_order_of_merges_stays():
    state = bpe([("b", "c"), ("a", "b")])
    kept = kept_by(state, "ab", "bc")
    assert split(state, "abc") == split(restricted(state, kept), "abc") == ["a", "bc"]


def test_old_files_write_merges_as_one_text():
    state = bpe([("a", "b"), ("ab", "c")])
    old = state | {"model": state["model"] | {"merges": ["a b", "ab c"]}}
    assert kept_by(old, "abc") == kept_by(state, "abc")
    assert split(restricted(old, kept_by(old, "abc")), "abc") == ["abc"]


def test_a_whole_word_may_be_taken_as_it_is():
    state = bpe([("a", "b")], ignore_merges=True)
    state["model"]["vocab"]["bab"] = 3
    kept = kept_by(state, "bab")
    assert split(restricted(state, kept), "bab") == split(state, "bab") == ["bab"]


def test_an_unknown_character_costs_what_it_did():
    pieces = [("<unk>", 0.0), ("x", -1.0), ("y", -1.0), ("xq", -14.0), ("yyyy", -20.0)]
    state = state_of(models.Unigram(pieces, unk_id=0))
    assert split(state, "xq") == ["xq"], "an unknown q would cost 30"
    assert split(restricted(state, kept_by(state, "xq")), "xq") == ["xq"]
    # without the least score it would cost 24, and with only x and y less than xq
    assert vocabulary(state)["yyyy"] in indispensable(state)


def test_wordpieces_of_one_character_stay():
    tokens = ["[UNK]", "a", "##a", "b", "##b", "ab", "##ab"]
    state = state_of(models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
    assert words(state, indispensable(state)) == {"[UNK]", "a", "##a", "b", "##b"}


def test_bytes_stay():
    state = state_of(models.Unigram([("<unk>", 0.0), ("<0x41>", -9.0), ("ab", -10.0), ("abab", -9.5)], unk_id=0))
    assert words(state, indispensable(state)) == {"<unk>", "<0x41>", "ab"}


def test_numbers_are_rewritten_everywhere():
    parts = {
        "added_tokens": [{"id": 2, "content": "[S]", "special": True}],
        "padding": {"pad_id": 2, "pad_token": "[S]"},
        "post_processor": {
            "type": "Sequence",
            "processors": [
                {"type": "RobertaProcessing", "sep": ["[S]", 2], "cls": ["b", 1]},
                {
                    "type": "TemplateProcessing",
                    "special_tokens": {"S": {"id": "S", "ids": [2, 1], "tokens": ["[S]", "b"]}},
                },
            ],
        },
    }
    state = state_of(models.WordPiece({"aa": 0, "b": 1, "[S]": 2}, unk_token="[S]"), **parts)
    assert indispensable(state) == {1, 2}
    small = restricted(state, {1, 2})
    assert small["model"]["vocab"] == {"b": 0, "[S]": 1}
    assert small["added_tokens"][0]["id"] == small["padding"]["pad_id"] == 1
    first, second = small["post_processor"]["processors"]
    assert (first["sep"], first["cls"]) == (["[S]", 1], ["b", 0])
    assert second["special_tokens"]["S"]["ids"] == [1, 0]
    assert state["added_tokens"][0]["id"] == 2, "what was given is as it was"


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (models.WordLevel({"a": 0}, unk_token="a"), "WordLevel"),
        (models.BPE({"a": 0}, [], end_of_word_suffix="</w>"), "end of words"),
    ],
)
def test_other_kinds_are_refused(model, word):
    with pytest.raises(InputError, match=word):
        vocabulary(state_of(model))
