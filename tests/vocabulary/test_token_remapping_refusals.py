"""Models and plans in which no row can stand in for another's, and what is said then."""

import json

import pytest
import zoo
from cuts import cut
from words import KINDS, SEEN, tokenizer_for

from infoprune.checkpoint import load, save
from infoprune.cli.read import dropped_tokens
from infoprune.data.batches import make_batches
from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.plan import VOCABULARY, Plan, plan_of
from infoprune.surgery import apply_plan
from infoprune.vocabulary.tokens import prune_vocabulary


@pytest.mark.parametrize(
    ("model_type", "auto", "words"),
    [
        ("bert", "AutoModelForMaskedLM", "output layer over the same tokens"),
        ("llama", "AutoModelForCausalLM", "output layer over the same tokens"),
        ("bart", "AutoModelForSequenceClassification", "it has a decoder"),
    ],
)
def test_models_that_say_tokens(model_type, auto, words):
    model = zoo.build(model_type, auto=auto, vocab_size=500)
    tokenizer = tokenizer_for(model_type if model_type in KINDS else "roberta")
    with pytest.raises(InputError, match=rf"{words}.*`dropped_tokens=pieces`"):
        prune_vocabulary(model, tokenizer, SEEN, dropped_tokens="remap")
    plan = Plan(model_type, {VOCABULARY: 500}, {VOCABULARY: tuple(range(499))}, "counts", 0, 0.0, (*range(499), 0))
    with pytest.raises(InputError, match=words):
        apply_plan(model, plan)
    assert plan_of(prune_vocabulary(model, tokenizer, SEEN).model).token_map is None


def test_one_way_after_the_other():
    model, small = cut()
    with pytest.raises(InputError, match=r"already pruned with `dropped_tokens=remap`.*pass `dropped_tokens=remap`"):
        prune_vocabulary(small.model, small.tokenizer, SEEN, dropped_tokens="pieces")
    pieces = prune_vocabulary(model, tokenizer_for("bert"), SEEN)
    with pytest.raises(InputError, match=r"already pruned with `dropped_tokens=pieces`.*pass `dropped_tokens=pieces`"):
        prune_vocabulary(pieces.model, pieces.tokenizer, SEEN, dropped_tokens="remap")
    with pytest.raises(InputError, match=r"\d+ tokens of this model read \d+ rows"):
        apply_plan(
            small.model, Plan("bert", plan_of(small.model).after().units, {VOCABULARY: (0, 1, 2, 3)}, "counts", 0)
        )
    size = len(pieces.tokenizer)
    later = Plan("bert", {VOCABULARY: size}, {VOCABULARY: (0,)}, "", 0, token_map=(0,) * size)
    with pytest.raises(InputError, match="expected the same handling of removed tokens"):
        plan_of(pieces.model).then(later)


def test_a_uniform_shape_of_such_a_model():
    _, small = cut()
    with pytest.raises(InputError, match=r"are remapped.*`shape=free`"):
        prune(small.model, make_batches(SEEN, small.tokenizer), settings=Settings(shape="uniform"))


def test_a_word_that_is_neither():
    with pytest.raises(InputError, match=r"--dropped-tokens is 'closest', expected one of: remap, pieces"):
        dropped_tokens("closest")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda plan: plan["token_map"].pop(), "entries for 163 tokens"),
        (lambda plan: plan["token_map"].__setitem__(9, 10**6), "not kept"),
        (lambda plan: plan["token_map"].__setitem__(9, -1), "not kept"),
        (lambda plan: plan["token_map"].__setitem__(0, 2), "kept one to another"),
        (lambda plan: plan["token_map"].__setitem__(0, True), "list of integers"),
        (lambda plan: plan.__setitem__("token_map", {"0": 0}), "list of integers"),
        (lambda plan: plan["kept"].__setitem__(VOCABULARY, plan["kept"][VOCABULARY][:-1]), "not kept"),
        (lambda plan: (plan["kept"].pop(VOCABULARY), plan["units"].pop(VOCABULARY)), "163 entries for 0 tokens"),
        (lambda plan: plan.pop("token_map"), r"the plan keeps \d+ tokens, the config has \d+ rows for 163 tokens"),
        (lambda plan: (plan["units"].__setitem__(VOCABULARY, 164), plan["token_map"].append(0)), "rows for 164 tokens"),
    ],
)
def test_a_damaged_plan(damage, words, tmp_path):
    _, small = cut()
    save(small.model, tmp_path / "out")
    file = tmp_path / "out" / "plan.json"
    plan = json.loads(file.read_text())
    damage(plan)
    file.write_text(json.dumps(plan))
    with pytest.raises(InputError, match=words):
        load(tmp_path / "out")


def test_weights_of_another_size(tmp_path):
    _, small = cut()
    _, other = cut(options={"extra_tokens": 4})
    save(small.model, tmp_path / "out")
    save(other.model, tmp_path / "other")
    (tmp_path / "other" / "plan.json").replace(tmp_path / "out" / "plan.json")
    with pytest.raises(InputError, match=r"the plan keeps \d+ rows for 163 tokens, the config has \d+ rows"):
        load(tmp_path / "out")
