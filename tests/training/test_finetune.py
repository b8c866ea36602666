import copy
import random

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertForTokenClassification
from transformers.utils import logging

from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.training.finetune import finetune, load_for_finetuning


def reviews(count, seed=0):
    """Texts whose label is decided by one of their words."""
    seed_run = random.Random(seed)
    labels = [seed_run.choice(["neg", "pos"]) for _ in range(count)]
    words = {"pos": ["good", "great", "fine"], "neg": ["bad", "poor", "dull"]}
    texts = [f"the {seed_run.choice(['film', 'plot'])} is {seed_run.choice(words[label])}" for label in labels]
    return TextData(tuple(texts), None, tuple(labels), "memory")


def fresh(make_tiny_bert, **settings):
    return make_tiny_bert(id2label={0: "neg", 1: "pos"}, label2id={"neg": 0, "pos": 1}, **settings)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_a_learnable_task_is_learned(make_tiny_bert, tokenizer):
    model = fresh(make_tiny_bert)
    before = weights(model)
    calls = []
    metrics = finetune(
        model,
        tokenizer,
        reviews(256),
        eval_data=reviews(64, seed=1),
        epochs=6,
        learning_rate=3e-3,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert metrics["accuracy"] > 0.95
    assert metrics["train_loss"] < 0.69
    assert metrics["seconds"] > 0
    assert calls == [(step, 48) for step in range(1, 49)]
    assert not model.training
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad, "freezing is undone"
        assert torch.equal(parameter, before[name]) == (".embeddings." in name), name


def test_the_models_own_forward_comes_back_after_mixed_precision(make_tiny_bert, tokenizer):
    model = fresh(make_tiny_bert)
    finetune(model, tokenizer, reviews(8), epochs=1, bf16=True)
    batch = tokenizer("good film", return_tensors="pt")
    twin = copy.deepcopy(model).double()
    torch.testing.assert_close(model(**batch).logits.double(), twin(**batch).logits, rtol=1e-4, atol=1e-5)
    assert "forward" not in vars(model)


def test_the_seed_decides_the_result(make_tiny_bert, tokenizer):
    def trained(seed):
        model = fresh(make_tiny_bert)
        finetune(model, tokenizer, reviews(40), epochs=1, seed=seed, bf16=False, freeze_embeddings=False)
        return weights(model)

    first, again, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def steps_of(model, tokenizer, texts, **settings):
    """The inputs of every step of one epoch."""
    steps = []
    hook = model.register_forward_pre_hook(lambda _, args, inputs: steps.append(dict(inputs)), with_kwargs=True)
    finetune(model, tokenizer, texts, epochs=1, **settings)
    hook.remove()
    return steps


def test_the_inputs_of_a_step_have_a_similar_length(make_tiny_bert, tokenizer):
    texts = ["the film is good", "the film is good and the plot is dull and the film is bad"] * 32
    steps = steps_of(fresh(make_tiny_bert), tokenizer, TextData(tuple(texts), None, ("neg", "pos") * 32, "memory"))
    assert all(step["attention_mask"].bool().all() for step in steps), "no padding"
    lengths = [step["input_ids"].shape[1] for step in steps for _ in range(len(step["input_ids"]))]
    assert sorted(lengths) == sorted(len(tokenizer(text)["input_ids"]) for text in texts), "every text once"


def test_a_step_mixes_the_classes_of_data_that_are_sorted_by_label(make_tiny_bert, tokenizer):
    texts = TextData(("the film is good",) * 64, None, ("neg",) * 32 + ("pos",) * 32, "memory")
    steps = steps_of(fresh(make_tiny_bert), tokenizer, texts, batch_size=16)
    assert [len(step["labels"]) for step in steps] == [16] * 4
    assert all(len(set(step["labels"].tolist())) == 2 for step in steps)


def test_a_tag_stays_with_its_word(make_tiny_bert, tokenizer):
    config = make_tiny_bert(id2label={0: "good", 1: "other"}, label2id={"good": 0, "other": 1}).config
    texts = [" ".join(["film"] * before + ["good"] + ["film"] * after) for before in range(5) for after in range(5)]
    tags = tuple(" ".join("good" if word == "good" else "other" for word in text.split()) for text in texts)
    steps = steps_of(
        BertForTokenClassification(config), tokenizer, TextData(tuple(texts), None, tags, "memory"), batch_size=4
    )
    good = tokenizer.convert_tokens_to_ids("good")
    for step in steps:
        assert torch.equal(step["labels"] == 0, step["input_ids"] == good)


def test_regression_is_trained_on_numbers(make_tiny_bert, tokenizer):
    texts = reviews(64)
    numbers = TextData(texts.texts, None, tuple("1" if label == "pos" else "0.5" for label in texts.labels), "memory")
    metrics = finetune(make_tiny_bert(num_labels=1), tokenizer, numbers, eval_data=numbers, epochs=1)
    assert {"pearson", "mse"} <= set(metrics)


def test_training_says_nothing(make_tiny_bert, tokenizer, saved_bert, capfd):
    verbosity = logging.get_verbosity()
    finetune(fresh(make_tiny_bert), tokenizer, reviews(8), epochs=1)
    load_for_finetuning(saved_bert, ["a", "b", "c"])
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == verbosity


def test_missing_and_unknown_labels_are_explained(make_tiny_bert, tokenizer):
    model = fresh(make_tiny_bert)
    with pytest.raises(
        InputError, match=r"memory: no labels, expected one for each text; name their column with `label`"
    ):
        finetune(model, tokenizer, TextData(("a",), None, None, "memory"))
    with pytest.raises(InputError, match="labels 'meh' are unknown to this model"):
        finetune(model, tokenizer, TextData(("a",), None, ("meh",), "memory"))


def test_a_head_is_made_for_the_labels_that_there_are(saved_bert):
    model = load_for_finetuning(saved_bert, ["pos", "neg", "meh", "pos"])
    assert model.config.id2label == {0: "meh", 1: "neg", 2: "pos"}
    assert model.config.label2id == {"meh": 0, "neg": 1, "pos": 2}
    assert model.classifier.weight.shape == (3, 32)
    assert load_for_finetuning(saved_bert, ["10", "9", "0"]).config.id2label == {0: "0", 1: "9", 2: "10"}


def test_the_encoder_is_the_saved_one_and_the_new_head_follows_the_seed(saved_bert):
    state = torch.random.get_rng_state()
    first, again, other = (load_for_finetuning(saved_bert, ["a", "b", "c"], seed=seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    saved = AutoModelForSequenceClassification.from_pretrained(saved_bert)
    assert all(map(torch.equal, saved.bert.state_dict().values(), first.bert.state_dict().values()))


def test_models_that_cannot_be_loaded_are_explained(tmp_path, saved_bert):
    with pytest.raises(InputError, match=r"there is no folder .*check the path"):
        load_for_finetuning(tmp_path / "none", ["a", "b"])
    with pytest.raises(InputError, match=r"1 distinct value\(s\) \['a'\], expected two or more classes"):
        load_for_finetuning(saved_bert, ["a", "a"])
