"""Numbers that have no spread, no size or no end: what comes out is finite, the same each time, and makes sense."""

import pytest
import torch
from rows import write_rows
from tiny import divergence, logits_of, make_batches

from infoprune.data.texts import read_texts
from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites
from infoprune.training.finetune import finetune

BATCHES = make_batches(((9, 7, 12, 8),) * 8)


def copied(model):
    """The second half of all neurons and heads says what the first half says."""
    for layer in model.bert.encoder.layer:
        attention = layer.attention.self
        for module in (layer.intermediate.dense, attention.query, attention.key, attention.value):
            half = len(module.weight) // 2
            module.weight.data[half:] = module.weight.data[:half]
            module.bias.data[half:] = module.bias.data[:half]


@pytest.mark.parametrize("repair", [True, False])
def test_of_copies_one_of_each_stays_and_nothing_is_lost(tiny_bert64, repair):
    copied(tiny_bert64)
    result = prune(tiny_bert64, BATCHES, keep=0.5, settings=Settings(shrinkage=1e-10, repair=repair))
    for site in find_sites(tiny_bert64):
        kept = result.plan.kept[site.name]
        assert {unit % (site.units // 2) for unit in kept} == set(range(site.units // 2)), site.name
    assert divergence(logits_of(tiny_bert64, BATCHES), logits_of(result.model, BATCHES)) < 1e-4


def test_copies_are_told_apart_in_the_same_way_each_time(tiny_bert):
    copied(tiny_bert)
    first, again = (prune(tiny_bert, BATCHES, keep=0.3) for _ in range(2))
    assert first.plan == again.plan
    assert torch.equal(logits_of(first.model, BATCHES), logits_of(again.model, BATCHES))


def test_activations_beyond_float16_are_refused_with_the_remedy(make_tiny_bert):
    model = make_tiny_bert(torch.float16)
    model.bert.encoder.layer[0].intermediate.dense.weight.data *= 3e4
    with pytest.raises(InputError, match=r"not finite.*float32"):
        collect(model, BATCHES)


@pytest.mark.parametrize("scale", [1e-12, 1e6])
def test_tiny_and_huge_neurons(tiny_bert, scale):
    for layer in tiny_bert.bert.encoder.layer:
        layer.intermediate.dense.weight.data *= scale
        layer.output.dense.weight.data /= scale
    result = prune(tiny_bert, BATCHES, keep=0.5)
    assert 0 <= result.plan.nats_lost < float("inf")
    assert torch.isfinite(logits_of(result.model, BATCHES)).all()


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
def test_one_text_again_and_again(tiny_bert):
    batch = make_batches(((6,),))[0]
    same = [{name: tensor.repeat(4, 1) for name, tensor in batch.items()}] * 3
    alone, often = (prune(tiny_bert, batches, keep=0.5) for batches in ([batch], same))
    assert torch.isfinite(logits_of(often.model, BATCHES)).all()
    assert divergence(logits_of(tiny_bert, [batch]), logits_of(often.model, [batch])) < 0.1
    assert alone.plan.counts == often.plan.counts


def test_one_label_in_fifty(make_tiny_bert, tokenizer, tmp_path):
    rows = [(f"the film is {'good' if index else 'bad'}", int(index > 0)) for index in range(50)]
    data = read_texts(write_rows(tmp_path / "rows.csv", rows), label="label")
    first, again = (finetune(make_tiny_bert(), tokenizer, data, eval_data=data, epochs=1, bf16=False) for _ in range(2))
    first.pop("seconds"), again.pop("seconds")
    assert first == again
    assert 0 <= first["accuracy"] <= 1
    assert 0 < first["train_loss"] < float("inf")
