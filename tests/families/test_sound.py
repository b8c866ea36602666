"""Sound waves: what a frame is, where the residual is, and which frames count."""

import pytest
import torch
from test_contract import even, masked, plan_for, relative
from zoo import answers, build, inputs

from infoprune.statistics.accept import accept
from infoprune.statistics.calibration import real_tokens, typical_shape
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import evaluate

WAVES = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}


def waves(dtype=torch.float64):
    return [{name: x.to(dtype) if x.is_floating_point() else x for name, x in b.items()} for b in inputs("wav2vec2")]


def test_frames_are_those_of_the_model():
    model = build("wav2vec2")
    for batch, accepted, rows in zip(waves(), accept(model, waves()), ((5, 9, 12), (11, 4)), strict=True):
        mask = real_tokens(accepted)
        assert torch.equal(mask, model._get_feature_vector_attention_mask(max(rows), batch["attention_mask"]))
        assert mask.sum(1).tolist() == list(rows)
        assert model(**batch).logits.shape[1] == max(rows)
        bare = {"input_values": batch["input_values"]}
        assert real_tokens(*accept(model, bare)).tolist() == [[True] * max(rows)] * len(rows)
    once = accept(model, waves())
    assert all(one is other for one, other in zip(once, accept(model, once), strict=True))
    assert typical_shape(waves(), model.config) == (3, 12)


@pytest.mark.parametrize("settings", [{}, WAVES], ids=["post-norm", "pre-norm"])
@pytest.mark.parametrize("structure", ["heads", "ffn"])
def test_the_residual_is_what_the_layer_adds(settings, structure):
    model = build("wav2vec2", **settings)
    site = find_sites(model, [structure])[0]
    sums = {"heads": ("layer_norm", "final_layer_norm"), "ffn": ("final_layer_norm", None)}[structure]
    after = sums[bool(settings)]
    layer = site.reader.rpartition(".layers.0.")[0] + ".layers."
    seen = {}
    model.get_submodule(site.stream).register_forward_pre_hook(lambda _, x: seen.setdefault("residual", x[0]))
    model.get_submodule(site.reader).register_forward_hook(lambda _, x, y: seen.setdefault("output", y))
    module = f"{layer}0.{after}" if after else f"{layer}1.layer_norm"
    model.get_submodule(module).register_forward_pre_hook(lambda _, x: seen.setdefault("sum", x[0]))
    model(**waves()[0])
    torch.testing.assert_close(seen["sum"], seen["residual"] + seen["output"], rtol=1e-12, atol=1e-12)


def test_padding_does_not_count():
    model = build("wav2vec2", **WAVES)
    (batch, _) = waves()
    alone = [
        {name: x[row : row + 1, : int(batch["attention_mask"][row].sum())] for name, x in batch.items()}
        for row in range(3)
    ]
    together, apart = collect(model, [batch]), collect(model, alone)
    assert together.tokens == apart.tokens == 5 + 9 + 12
    for name, site in together.sites.items():
        torch.testing.assert_close(site.tokens.covariance, apart.sites[name].tokens.covariance, rtol=1e-9, atol=1e-12)


def test_the_other_norm_is_cut_as_well():
    model, batches = build("wav2vec2", **WAVES), inputs("wav2vec2")
    plan = plan_for(model, even(model))
    assert relative(answers(apply_plan(model, plan), batches), answers(masked(model, plan), batches)) < 1e-12


def test_a_transcript_is_no_label_of_frames():
    model = build("wav2vec2")
    labelled = [batch | {"labels": torch.ones(len(batch["input_values"]), 3, dtype=torch.long)} for batch in waves()]
    assert evaluate(model, labelled).metrics == {}
