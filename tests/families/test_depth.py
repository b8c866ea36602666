"""Whole blocks can go, in every family: what is left answers as if the block said nothing but its reader's bias."""

import pytest
import torch
import transformers
from test_contract import masked, plan_for, relative, rounding
from unregistered import plain_transformers
from zoo import answers, build, cast, each_form, inputs, long_inputs

from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import find_costs
from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.measuring.measure import count_flops, count_parameters, example_batch
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites
from infoprune.structure.stock import loads_in
from infoprune.surgery import apply_plan

# one of each way in which layers are put together, for what takes longer
KINDS = ("bert", "albert", "gpt2", "llama", "opt", "bart", "t5")

few = pytest.mark.parametrize("family", KINDS, indirect=True)

pytestmark = pytest.mark.filterwarnings("ignore:.*calibration tokens")


def some_empty(model):
    """Attention goes in every other layer from the first on, neurons in the rest; of the others one unit stays."""
    gone = {site.name for site in find_sites(model) if (site.layer + (site.structure == "ffn")) % 2 == 0}
    return {site.name: () if site.name in gone and site.least == 0 else (0,) for site in find_sites(model)}


@each_form
def test_leaving_out_is_masking(family, tmp_path):
    model, batches = build(family.model_type), inputs(family.model_type)
    plan = plan_for(model, some_empty(model))
    small = apply_plan(model, plan)
    expected = answers(small, batches)
    assert relative(expected, answers(masked(model, plan), batches)) < rounding(family)
    assert {site.name for site in find_sites(small)} == {name for name, kept in plan.kept.items() if kept}
    assert [site.units for site in find_sites(small, empty=True)] == [len(kept) for kept in plan.kept.values()]
    save(small, tmp_path / "out")
    assert torch.equal(answers(load(tmp_path / "out"), batches), expected)
    if all(plan.kept.values()):  # no block of this family can go
        return
    assert loads_in(find_sites(model), plan.counts) == "infoprune"
    with plain_transformers(), pytest.raises((RuntimeError, ValueError)):
        getattr(transformers, type(model).__name__).from_pretrained(tmp_path / "out")
    back = getattr(transformers, type(model).__name__).from_pretrained(tmp_path / "out", dtype="auto")
    assert torch.equal(answers(back, batches), expected)


def test_going_on_from_a_cache(family):
    """Without given positions: they, and masks, follow from how many tokens the first layer has cached."""
    if family.task != "causal-lm" and family.decoder is None:
        return
    model = build(family.model_type)
    small = apply_plan(model, plan_for(model, some_empty(model)))
    batch = cast(inputs(family.model_type), torch.float64)[0]
    name, row = ("input_ids", 2) if family.decoder is None else ("decoder_input_ids", 0)  # the longest
    ids = batch[name][[row, row], :9]
    read = {} if family.decoder is None else {model.main_input_name: batch[model.main_input_name][[2, 2]]}
    with torch.no_grad():
        whole = small(**{**read, name: ids}).logits
        first = small(**{**read, name: ids[:, :6]}, use_cache=True)
        rest = small(**{**read, name: ids[:, 6:]}, past_key_values=first.past_key_values).logits
    rounding = 1e-6 if family.model_type in ("gpt_neo", "gptj") else 1e-12  # they compare queries in float32
    torch.testing.assert_close(torch.cat([first.logits, rest], 1), whole, rtol=1e-9, atol=rounding)


@pytest.mark.parametrize("model_type", [*KINDS, "qwen3"])  # whose attention has norms, which go with it
def test_costs_are_those_of_a_model_that_is_really_cut(model_type):
    model = build(model_type, torch.float32)
    kept = some_empty(model)
    counts = {name: len(units) for name, units in kept.items()}
    small = apply_plan(model, plan_for(model, kept))
    for quantity in ("flops", "params"):
        costs = find_costs(model, quantity, inputs(model_type), multiple=1, depth=True)
        batch = example_batch(model.config, *costs.shape)
        count = count_parameters if quantity == "params" else lambda model, batch=batch: count_flops(model, batch)
        assert costs.of(counts) == count(small)
        assert costs.dense == count(model)
        assert costs.least <= costs.of(counts)


@few
def test_what_a_block_says_on_average_goes_into_the_bias(family):
    """Or nowhere, if it has none; a repair then finds the bias anew, and readers above make good what they can."""
    model, batches = build(family.model_type), long_inputs(family.model_type)
    plan = plan_for(model, {site.name: () for site in find_sites(model)[:1] if site.least == 0})
    if not plan.kept:
        return
    statistics = collect(model, batches)
    dense = answers(model, batches)
    (name,) = plan.kept
    reader = statistics.sites[name].site.reader
    small = apply_plan(model, plan, statistics)
    bias = small.get_submodule(reader).bias
    if bias is not None:
        moments = statistics.sites[name].moments
        expected = statistics.sites[name].reader @ moments.mean + model.get_submodule(reader).bias
        torch.testing.assert_close(bias.detach(), expected.detach(), rtol=1e-9, atol=1e-12)
    if not family.shared:
        repaired = repair(small, model, batches, statistics=statistics, ridge=1e-3)
        wrong = [(answers(each, batches) - dense).square().mean() for each in (small, repaired)]
        assert wrong[1] < 0.9 * wrong[0]
        moved = repaired.get_submodule(reader).bias
        assert bias is None or not torch.equal(moved, bias)


@few
def test_generation_with_a_cache(family):
    if family.task not in ("causal-lm", "seq2seq"):
        return
    model = build(family.model_type)
    small = apply_plan(model, plan_for(model, some_empty(model)))
    prompt = inputs(family.model_type)[0]["input_ids"][2:, :7]
    for beams in (1, 2):
        options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "num_beams": beams}
        assert torch.equal(*(small.generate(prompt, use_cache=use, **options) for use in (True, False)))


@pytest.mark.parametrize(("model_type", "rounds"), [*((name, 1) for name in KINDS), ("bert", 2), ("t5", 2)])
def test_a_budget_drops_blocks(model_type, rounds):
    family = FAMILIES[model_type]
    model, batches = build(family.model_type, torch.float32), inputs(family.model_type)
    plain, deep = (find_costs(model, "params", batches, multiple=8, depth=depth) for depth in (False, True))
    share = (plain.least + deep.least) / 2 / plain.dense
    settings = Settings(repair=not family.shared and rounds == 1, rounds=rounds)
    result = prune(model, batches, budget=Budget("params", share, depth=True), settings=settings)
    gone = {name for name, (kept, _) in result.report.kept.items() if kept == 0}
    assert result.report.pruned.parameters <= share * result.report.dense.parameters
    assert gone
    assert torch.isfinite(answers(result.model, batches)).all()
    with pytest.raises(InputError, match="cannot be met"):
        prune(model, batches, budget=Budget("params", share), settings=settings)
    again = prune(result.model, batches, keep=0.5, settings=settings)  # what is gone stays gone
    assert again.plan.units == result.plan.units
    assert {name for name, kept in again.plan.kept.items() if not kept} == gone


@few
def test_layers_are_timed(family):
    model, batches = build(family.model_type, torch.float32), inputs(family.model_type)
    costs = find_costs(model, "latency", batches, multiple=8, depth=True)
    assert 0 < costs.least <= costs.dense


@few
def test_all_blocks_can_go(family):
    model, batches = build(family.model_type), inputs(family.model_type)
    plan = plan_for(model, {site.name: () for site in find_sites(model) if site.least == 0})
    assert relative(answers(apply_plan(model, plan), batches), answers(masked(model, plan), batches)) < 1e-12
    assert loads_in(find_sites(model), plan.counts) == "infoprune"


def test_an_attention_that_cannot_go():
    model = build("albert")
    with pytest.raises(InputError, match=r"keeps none of the 6 units of layers\.0\.heads.*keep one"):
        apply_plan(model, plan_for(model, {"layers.0.heads": ()}))
