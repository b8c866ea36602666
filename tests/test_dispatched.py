"""Models that accelerate has dispatched, and models in half precision, through the whole flow."""

import pytest
import torch
import zoo
from accelerate import dispatch_model
from tiny import logits_of, make_batches
from transformers import AutoModelForCausalLM

from infoprune.budgets.costs import find_costs
from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.pipeline.prune import prune
from infoprune.ranking.fan2021 import Fan2021
from infoprune.statistics.collect import collect
from infoprune.structure.offload import is_offloaded, load_into_memory

BATCHES = make_batches(((5, 9, 3, 6), (9, 4, 7), (8, 9)))
PLACES = ("model.embed_tokens", "model.rotary_emb", "model.layers.0", "model.layers.1", "model.norm", "lm_head")


def plain(**settings):
    return zoo.build("llama", torch.float32, **settings)


def hooked(model, folder):
    """As on several devices, which are one here: hooks everywhere, and all weights where they belong."""
    return dispatch_model(model, dict.fromkeys(PLACES, "cpu"), main_device="cpu", force_hooks=True)


def on_disk(model, folder):
    """The upper layer and the output layer come from disk when they are called."""
    places = dict.fromkeys(PLACES, "cpu") | {"model.layers.1": "disk", "lm_head": "disk"}
    return dispatch_model(model, places, main_device="cpu", offload_dir=folder, force_hooks=True)


def by_itself(model, folder):
    """As `device_map="auto"` does it where memory is short."""
    model.save_pretrained(folder / "whole")
    short = {"cpu": sum(p.numel() * 4 for p in model.parameters()) // 2}
    return AutoModelForCausalLM.from_pretrained(
        folder / "whole", device_map="auto", max_memory=short, offload_folder=folder, dtype=torch.float32
    )


WAYS = {"hooks": hooked, "disk": on_disk, "auto": by_itself}


def devices(model):
    """A tied output layer left out: a call moves it from where its twin lies."""
    return {name: each.device.type for name, each in model.named_parameters() if name != "lm_head.weight"}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_where_weights_lie_changes_nothing(tmp_path, way, tied):
    dense = plain(tie_word_embeddings=tied)
    model = WAYS[way](plain(tie_word_embeddings=tied), tmp_path)
    assert is_offloaded(model) is (way != "hooks")
    before = devices(model)
    expected, found = prune(dense, BATCHES, keep=0.5), prune(model, BATCHES, keep=0.5)
    assert found.plan == expected.plan
    assert torch.equal(logits_of(found.model, BATCHES), logits_of(expected.model, BATCHES))
    assert devices(model) == before
    assert torch.equal(logits_of(model, BATCHES), logits_of(dense, BATCHES))
    assert not any(parameter.is_meta for parameter in found.model.parameters())
    save(found.model, tmp_path / "small")
    assert torch.equal(logits_of(load(tmp_path / "small"), BATCHES), logits_of(expected.model, BATCHES))


@pytest.mark.parametrize("quantity", ["flops", "params", "bytes"])
def test_costs_of_an_offloaded_model(tmp_path, quantity):
    expected = find_costs(plain(), quantity, BATCHES, multiple=1)
    found = find_costs(on_disk(plain(), tmp_path), quantity, BATCHES, multiple=1)
    assert found.rest == expected.rest
    assert all(torch.equal(found.sites[name], curve) for name, curve in expected.sites.items())


def test_what_cannot_be_measured(tmp_path):
    with pytest.raises(InputError, match=r"latency was given for a model with offloaded weights.*flops"):
        find_costs(on_disk(plain(), tmp_path), "latency", BATCHES, multiple=1)


def test_pairs_of_an_offloaded_model(tmp_path):
    expected = prune(plain(), BATCHES, criterion=Fan2021())
    assert prune(on_disk(plain(), tmp_path), BATCHES, criterion=Fan2021()).plan == expected.plan


def test_broken_weights_are_found_on_disk(tmp_path):
    model = plain()
    model.model.layers[1].mlp.up_proj.weight.data[1, 2] = torch.nan
    with pytest.raises(InputError, match=r"weight model\.layers\.1\.mlp\.up_proj\.weight holds NaN"):
        collect(on_disk(model, tmp_path), BATCHES)


def test_bringing_home_is_for_the_offloaded(tmp_path):
    model = plain()
    assert load_into_memory(model) is model
    home = load_into_memory(on_disk(plain(), tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(home.parameters(), model.parameters(), strict=True))
    assert torch.equal(logits_of(home, BATCHES), logits_of(model, BATCHES))


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_from_end_to_end(tmp_path, family, dtype):
    model = zoo.build(family, dtype)
    statistics = collect(model, BATCHES).sites["layers.0.ffn"]
    assert {statistics.covariance.dtype, statistics.fisher.dtype, statistics.reader.dtype} == {torch.float64}
    found = prune(model, BATCHES, keep=0.75)
    assert {parameter.dtype for parameter in found.model.parameters()} == {dtype}
    single = prune(zoo.build(family, dtype).float(), BATCHES, keep=0.75)  # the same rounded weights
    apart, near, far = (logits_of(each, BATCHES).float() for each in (found.model, single.model, model))
    assert float((apart - near).norm()) < max(0.5 * float((near - far).norm()), 0.02 * float(far.norm()))
    save(found.model, tmp_path / "small")
    assert torch.equal(logits_of(load(tmp_path / "small"), BATCHES), logits_of(found.model, BATCHES))


def test_what_float16_cannot_hold():
    model = zoo.build("llama", torch.float16)
    model.model.layers[0].mlp.down_proj.weight.data *= 5e4
    with pytest.raises(InputError, match=r"largest number in float16 is 65,504: try the model in bfloat16 or float32"):
        prune(model, BATCHES)
