"""Models of pictures and texts: two towers with one answer, and what the embedding of a model without a head is."""

import pytest
import torch
from test_contract import even, masked, plan_for, relative
from zoo import answers, build, cast, inputs

from infoprune.data.texts import TextData
from infoprune.errors import InputError
from infoprune.measuring.measure import count_flops, example_batch
from infoprune.statistics.answer import embeds, pool_by, read_answer
from infoprune.statistics.calibration import real_tokens
from infoprune.statistics.collect import collect
from infoprune.structure.positions import position_limit
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.tasks.compare import compare
from infoprune.vocabulary.tokens import prune_vocabulary


def answer(model, batch):
    return read_answer(model, model(**batch), real_tokens(batch)).values


def test_a_pair_has_two_embeddings_of_length_one():
    model, (batch, _) = build("clip"), cast(inputs("clip"), torch.float64)
    output, values = model(**batch), answer(model, batch)
    assert torch.allclose(values.unflatten(1, (2, -1)).norm(dim=-1), torch.ones(3, 2, dtype=torch.float64))
    texts, pictures = values.chunk(2, -1)
    torch.testing.assert_close(texts @ pictures.T * model.logit_scale.exp(), output.logits_per_text)
    found = compare(model, model, [batch])
    assert (found.kl, round(found.agreement, 12)) == (None, 1)


def test_a_tower_that_says_nothing_carries_no_information():
    """A projection to one coordinate leaves the sign of an embedding of length one, which no small change turns."""
    model, batches = build("clip"), cast(inputs("clip"), torch.float64)
    model.visual_projection.weight.data[1:] = 0
    found = {name: float(site.importance.weight) for name, site in collect(model, batches).sites.items()}
    assert max(each for name, each in found.items() if name.startswith("pictures.")) < 1e-20
    assert min(each for name, each in found.items() if name.startswith("layers.")) > 1e-6


def test_a_classifier_has_the_tower_of_pictures_alone(tmp_path):
    model, batches = build("clip", auto="AutoModelForImageClassification"), inputs("clip_vision_model")
    assert {site.stack for site in find_sites(model)} == {"pictures"}
    small = apply_plan(model, plan_for(model, even(model)))
    assert relative(answers(small, batches), answers(masked(model, plan_for(model, even(model))), batches)) < 1e-12
    assert count_flops(small, example_batch(model.config)) < count_flops(model, example_batch(model.config))
    small.save_pretrained(tmp_path)
    assert torch.equal(
        answers(type(model).from_pretrained(tmp_path, dtype="auto").eval(), batches), answers(small, batches)
    )


@pytest.mark.parametrize("model_type", ["clip", "clip_text_model", "smolvlm"])
def test_a_vocabulary_that_cannot_be_cut(model_type, tokenizer):
    with pytest.raises(InputError, match=rf"vocabulary of a {model_type} cannot be cut.*leave vocabulary out"):
        prune_vocabulary(build(model_type), tokenizer, TextData(("a film",), None, None, "texts"))


def test_places_in_a_picture_are_no_positions_of_a_text():
    assert position_limit(build("clip")) == 80
    assert position_limit(build("clip_vision_model")) is None


@pytest.mark.parametrize(
    ("model_type", "auto", "has_none"),
    [
        ("dinov2", "AutoModel", True),
        ("dinov2", "AutoModelForImageClassification", False),
        ("dinov3_vit", "AutoModel", True),
        ("clip", "AutoModel", True),
        ("clip_text_model", "CLIPTextModelWithProjection", True),
        ("clip_vision_model", "CLIPVisionModel", True),
        ("wav2vec2", "AutoModel", True),
        ("wav2vec2", "AutoModelForCTC", False),
    ],
)
def test_which_models_have_no_head(model_type, auto, has_none):
    assert embeds(build(model_type, auto=auto)) is has_none


def test_what_the_model_pools_unless_the_user_does():
    model, (batch, _) = build("clip_vision_model", auto="CLIPVisionModel"), cast(inputs("vit"), torch.float64)
    output = model(**batch)
    torch.testing.assert_close(answer(model, batch), torch.nn.functional.normalize(output.pooler_output, dim=-1))
    pool_by(model, "mean")
    mean = output.last_hidden_state.mean(1)
    torch.testing.assert_close(answer(model, batch), torch.nn.functional.normalize(mean, dim=-1))
