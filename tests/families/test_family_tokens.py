"""A smaller embedding table, in every family that reads tokens."""

import copy

import pytest
import torch
import transformers
from zoo import AUTO, FORMS, build, cast, has_experts, inputs, kind_of

from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.plan import VOCABULARY, Plan
from infoprune.structure.embeddings import count_rows, count_tokens
from infoprune.surgery import apply_plan

TEXTS = [model_type for model_type in FORMS if FAMILIES[model_type].cuts_vocabulary]
KEPT = (0, 1, 2, 3, *range(5, 100, 2))


def cut(model):
    return apply_plan(model, Plan(model.config.model_type, {VOCABULARY: 100}, {VOCABULARY: KEPT}, "counts", 0, 0.0))


def covered(model_type):
    """Inputs of kept tokens, by their old numbers and by their new ones."""
    kept = torch.tensor(KEPT)
    new = cast(inputs(model_type), torch.float64)
    for batch in new:
        batch |= {name: ids % len(KEPT) for name, ids in batch.items() if name.endswith("input_ids")}
    old = [{n: kept[x] if n.endswith("input_ids") else x for n, x in batch.items()} for batch in new]
    return old, new


def outputs(model, batches):
    if has_experts(model.config.model_type):
        model.set_experts_implementation("eager")  # the default has no products in float64
    with torch.no_grad():
        return [model(**batch).logits for batch in batches]


@pytest.mark.parametrize("model_type", TEXTS)
@pytest.mark.parametrize("auto", [None, "AutoModelForMaskedLM"])
def test_kept_tokens_answer_as_before(model_type, auto, tmp_path):
    mapping = getattr(transformers, auto or AUTO[FAMILIES[model_type].task])._model_mapping
    if type(build(model_type).config) not in mapping:
        return  # no such class in this family
    model = build(model_type, auto=auto)
    before = copy.deepcopy(model.state_dict())
    small = cut(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert count_tokens(small) == small.config.vocab_size == len(KEPT)
    assert not [name for name, tensor in small.state_dict().items() if 100 in tensor.shape], "something is left whole"
    save(small, tmp_path / "out")
    theirs = (mapping[type(model.config)] if auto else kind_of(model_type)).from_pretrained(tmp_path / "out")
    old, new = covered(model_type)
    for wanted, *found in zip(
        outputs(model, old),
        *(outputs(m.to(torch.float64).eval(), new) for m in (small, load(tmp_path / "out"), theirs)),
        strict=True,
    ):
        wanted = wanted[..., list(KEPT)] if wanted.shape[-1] == 100 else wanted
        for logits in found:
            torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("model_type", TEXTS)
def test_tokens_that_read_the_rows_of_others(model_type, tmp_path):
    """The oracle is the whole model with its rows replaced; families whose classifiers read tokens alone."""
    mapping = transformers.AutoModelForSequenceClassification._model_mapping
    if type(build(model_type).config) not in mapping:
        return  # no such class in this family
    model = build(model_type, auto="AutoModelForSequenceClassification")
    token_map = tuple(token if token in KEPT else KEPT[7 * token % len(KEPT)] for token in range(100))
    plan = Plan(model_type, {VOCABULARY: 100}, {VOCABULARY: KEPT}, "counts", 0, 0.0, token_map)
    if model.config.is_encoder_decoder:
        with pytest.raises(InputError, match="it has a decoder"):
            apply_plan(model, plan)
        return
    small = apply_plan(model, plan)
    table = model.get_input_embeddings().weight
    assert (count_rows(small), count_tokens(small), small.config.vocab_size) == (len(KEPT), 100, 100)
    assert sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in small.parameters()) == (
        (100 - len(KEPT)) * table.shape[1]
    )
    save(small, tmp_path / "out")
    table.data = table.data[torch.tensor(token_map)]
    answers = (outputs(each, inputs(model_type)) for each in (model, small, load(tmp_path / "out")))
    for wanted, found, again in zip(*answers, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        assert torch.equal(again, found)
