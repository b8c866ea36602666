"""Vocabularies that cannot be cut, each with a message that says what to do."""

import copy
import json

import pytest
import torch
import zoo
from cuts import Slow, dense
from transformers import ViTConfig, ViTForImageClassification
from words import SEEN, tokenizer_for

from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.plan import VOCABULARY, Plan
from infoprune.surgery import apply_plan
from infoprune.vocabulary.tokens import prune_vocabulary


def test_the_vocabulary_is_no_site_of_the_layers():
    model, _ = dense("bert")
    with pytest.raises(InputError, match=r"vocabulary.*infoprune\.prune_vocabulary"):
        prune(model, [{"input_ids": torch.tensor([[2, 5, 3]])}], structures=("ffn", "vocabulary"))


def test_a_slow_tokenizer():
    model, tokenizer = dense("bert")
    slow = copy.copy(tokenizer)
    slow.__class__ = Slow
    with pytest.raises(InputError, match=r"Slow is a slow tokenizer.*tokenizer\.json"):
        prune_vocabulary(model, slow, SEEN)


def test_a_tokenizer_of_another_model():
    with pytest.raises(InputError, match=r"160 tokens and the model's embedding table 100"):
        prune_vocabulary(zoo.build("bert"), tokenizer_for("bert"), SEEN)


def test_a_model_of_pictures():
    pictures = ViTForImageClassification(
        ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4)
    )
    with pytest.raises(InputError, match="reads no tokens"):
        prune_vocabulary(pictures, tokenizer_for("bert"), SEEN)


def test_a_count_below_one():
    with pytest.raises(InputError, match="`min_count` is 0"):
        prune_vocabulary(*dense("bert"), SEEN, min_count=0)


def test_less_than_no_extra_token():
    with pytest.raises(InputError, match=r"`extra_tokens` is -1.*0 keeps none"):
        prune_vocabulary(*dense("bert"), SEEN, extra_tokens=-1)


def test_lists_of_tokens_by_number():
    model, tokenizer = dense("llama")
    model.generation_config.sequence_bias = {(5,): 1.0}
    with pytest.raises(InputError, match="sequence_bias"):
        prune_vocabulary(model, tokenizer, SEEN)


def test_a_class_that_splits_texts_in_its_own_way(monkeypatch):
    model, tokenizer = dense("bert")
    monkeypatch.setattr(type(tokenizer), "from_pretrained", lambda _: tokenizer)
    with pytest.raises(InputError, match="BertTokenizer splits texts differently"):
        prune_vocabulary(model, tokenizer, SEEN)


def test_a_plan_that_forgets_the_padding():
    with pytest.raises(InputError, match="drops token 0, this model's pad_token_id"):
        apply_plan(zoo.build("bert"), Plan("bert", {VOCABULARY: 100}, {VOCABULARY: (1, 2)}, "counts", 0))
    with pytest.raises(InputError, match="counts 90 units in vocabulary, which has 100"):
        apply_plan(zoo.build("bert"), Plan("bert", {VOCABULARY: 90}, {VOCABULARY: (0, 1, 2)}, "counts", 0))


def test_a_damaged_plan(tmp_path):
    small = prune_vocabulary(*dense("bert"), SEEN)
    save(small.model, tmp_path / "out")
    plan = tmp_path / "out" / "plan.json"
    data = json.loads(plan.read_text())
    data["kept"][VOCABULARY] = [*range(len(data["kept"][VOCABULARY]) + 1)]
    plan.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"the plan keeps \d+ tokens, the config has"):
        load(tmp_path / "out")
