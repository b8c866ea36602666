"""Heads: what becomes of a model that is to learn labels; the layers are those of the folder, whatever it was for."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertModel,
)
from zoo import build

from infoprune.checkpoint import load, save
from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.plan import Plan, plan_of
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.training.finetune import finetune
from infoprune.training.heads import with_head

KEPT = {"layers.0.ffn": (1, 2, 5, 40), "layers.0.heads": (1, 3), "layers.1.heads": (2,)}
OTHERS = {
    "embedding": BertModel,
    "masked-lm": BertForMaskedLM,
    "question-answering": BertForQuestionAnswering,
}


@pytest.fixture
def folder(make_tiny_bert, tmp_path):
    """Save a model of any class, pruned or not."""

    def build(model_class=None, *, pruned=False, **settings):
        model = make_tiny_bert(**settings)
        if model_class is not None:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = model_class(model.config).eval()
                for parameter in model.parameters():
                    torch.nn.init.normal_(parameter, std=0.2, mean=float(parameter.detach().mean()))
        if pruned:
            units = {site.name: site.units for site in find_sites(model) if site.name in KEPT}
            model = apply_plan(model, Plan("bert", units, KEPT, "random", 0, 0.5))
        save(model, tmp_path / "model")
        return tmp_path / "model"

    return build


def layers(path):
    return {name.removeprefix("bert."): value for name, value in load_file(path / "model.safetensors").items()}


def sizes(model):
    return {site.name: site.units for site in find_sites(model)}


@pytest.mark.parametrize(
    ("task", "pruned"),
    [("embedding", False), ("embedding", True), ("masked-lm", True), ("question-answering", False)],
)
def test_any_model_of_texts_becomes_a_classifier(folder, tmp_path, task, pruned):
    path = folder(OTHERS[task], pruned=pruned)
    before = load(path)
    headed = with_head(path, ["x", "z", "y"])
    assert type(headed.model).__name__ == "BertForSequenceClassification"
    assert headed.model.config.id2label == {0: "x", 1: "y", 2: "z"}
    assert sizes(headed.model) == sizes(before)
    assert plan_of(headed.model) == plan_of(before)
    assert "new head for 3 classes (x, y, z)" in headed.origin
    assert OTHERS[task].__name__ in headed.origin
    assert ("pruned sizes stay" in headed.origin) == pruned
    kept = {name: value for name, value in layers(path).items() if name.startswith("encoder.")}
    assert kept
    assert all(torch.equal(headed.model.bert.state_dict()[name], value) for name, value in kept.items())
    save(headed.model, tmp_path / "again")
    assert sizes(load(tmp_path / "again")) == sizes(before)


@pytest.mark.parametrize(
    ("labels", "names", "says"),
    [
        (["0", "1"], {0: "LABEL_0", 1: "LABEL_1"}, "for 2 classes is trained further."),
        (["good", "bad"], {0: "bad", 1: "good"}, "trained further, under new names: bad, good"),
        (["a", "b", "c"], {0: "a", 1: "b", 2: "c"}, "new head for 3 classes (a, b, c); the old one had 2 outputs"),
    ],
)
def test_a_classifier_of_these_other_or_more_labels(folder, labels, names, says):
    path = folder(pruned=True)
    headed = with_head(path, labels)
    assert headed.model.config.id2label == names
    assert headed.model.classifier.out_features == len(names)
    assert says in headed.origin
    assert sizes(headed.model) == sizes(load(path))
    same = torch.equal(headed.model.classifier.weight[:2], load(path).classifier.weight)
    assert same == (len(names) == 2), "a head of the same size is kept"


def test_numbers_stay_numbers_and_words_become_classes(folder):
    path = folder(num_labels=1)
    assert with_head(path, ["1.5", "2"]).model.config.num_labels == 1
    assert with_head(path, ["good", "bad"]).model.config.num_labels == 2


def test_several_labels_per_input_are_trained_as_such(folder, tokenizer):
    path = folder(num_labels=3, problem_type="multi_label_classification")
    data = TextData(("a good film", "the plot", "bad"), None, ("0 1 1", "1 0 0", "0 0 1"), "memory")
    headed = with_head(path, data.labels)
    assert headed.model.config.problem_type == "multi_label_classification"
    assert finetune(headed.model, tokenizer, data, eval_data=data, epochs=1).keys() >= {"micro_f1"}
    assert with_head(path, ["a", "b"]).model.config.problem_type is None


def test_a_head_that_the_weights_lack_is_made(folder):
    path = folder()
    weights = load_file(path / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "classifier" not in name}, path / "model.safetensors")
    with pytest.raises(InputError, match=r"lack \['classifier.bias'.*train a head first \(infoprune finetune\)"):
        load(path)
    assert with_head(path, ["0", "1"]).model.classifier.out_features == 2
    weights.pop("bert.encoder.layer.1.output.dense.weight")
    save_file(weights, path / "model.safetensors")
    with pytest.raises(InputError, match=r"lack \['bert.encoder.layer.1.output.dense.weight'\]"):
        with_head(path, ["a", "b", "c"])


def test_a_classifier_of_tokens_learns_tags(folder, tokenizer):
    path = folder(BertForTokenClassification, pruned=True, num_labels=2)
    words = {"good": "P", "bad": "N", "the": "O", "film": "O", "plot": "O"}
    rows = [f"the {noun} {word}" for noun in ("film", "plot") for word in ("good", "bad")] * 8
    data = TextData(tuple(rows), None, tuple(" ".join(words[word] for word in row.split()) for row in rows), "memory")
    headed = with_head(path, data.labels)
    assert headed.model.config.label2id == {"N": 0, "O": 1, "P": 2}
    metrics = finetune(headed.model, tokenizer, data, eval_data=data, epochs=8, learning_rate=5e-3, batch_size=8)
    assert metrics["accuracy"] > 0.95
    assert sizes(headed.model) == sizes(load(path))
    short = TextData(("the film",), None, ("O",), "memory")
    with pytest.raises(InputError, match="row 1 has 1 tags for 2 words"):
        finetune(headed.model, tokenizer, short)


def test_what_cannot_classify_texts_is_refused(tmp_path):
    build("whisper", dtype=torch.float32).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"holds a whisper model.*no \.\.\.ForSequenceClassification"):
        with_head(tmp_path, ["a", "b"])


def test_scores_with_decimals_are_numbers_and_no_classes(folder):
    place = folder(BertModel)
    headed = with_head(place, ["0.25", "1", "0.5"])
    assert (headed.model.config.num_labels, headed.model.config.problem_type) == (1, "regression")
    assert "one number" in headed.origin
    assert with_head(place, ["0", "1", "2"]).model.config.num_labels == 3, "whole numbers are classes"


def test_a_number_that_the_head_does_not_have(folder):
    place = folder()
    file = place / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "id2label": {"0": "a", "2": "b"}}))
    assert with_head(place, ["a", "b"]).model.config.label2id == {"a": 0, "b": 1}
