"""What must hold of hidden sizes per layer, for every family that can have them."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from zoo import FORMS, answers, build, inputs, long_inputs

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import find_costs
from infoprune.budgets.shape import uniform_shape
from infoprune.checkpoint import empty_model, load, save
from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.measuring.measure import count_flops, count_parameters, example_batch
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.plan import HIDDEN_SIZE, HIDDEN_SIZE_PER_LAYER, Plan, plan_of
from infoprune.ranking.criteria import ChannelInformation, Random
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.structure.sites import every_site, find_sites, sites_by_name
from infoprune.structure.stock import loads_in
from infoprune.surgery import apply_plan, outline

TIED = {"starcoder2", "gpt2", "gpt_bigcode", "bloom"}
"""Whose output layer is the embedding table, as a rule."""
ABLE = [name for name in FORMS if HIDDEN_SIZE_PER_LAYER in FAMILIES[name].more_structures and name not in TIED]


SOME = pytest.mark.parametrize("model", ["bert", "electra", "llama", "phi3"], indirect=True)
"""Those that differ in where their stream goes, for what takes longer."""


@pytest.fixture(params=ABLE)
def model(request):
    return build(request.param)


def plan_of_hidden_sizes(model, *kept):
    """A plan that keeps these coordinates in the layers, bottom to top."""
    names = [site.name for site in find_sites(model, [HIDDEN_SIZE_PER_LAYER])]
    units = dict.fromkeys(names, 48)
    return Plan(model.config.model_type, units, dict(zip(names, kept, strict=True)), "random", 0)


FALLING = tuple(range(3, 43)), tuple(range(5, 40, 2))
SAME = (tuple(range(7, 39)),) * 2


def test_all_coordinates_are_the_identity(model):
    small = apply_plan(model, plan_of_hidden_sizes(model, tuple(range(48)), tuple(range(48))))
    batches = inputs(model.config.model_type)
    assert torch.equal(answers(small, batches), answers(model, batches))


@SOME
def test_equal_hidden_sizes_are_that_of_the_stream(model):
    """The same coordinates in every layer: what a cut of the whole stream gives, by another way."""
    batches = long_inputs(model.config.model_type)
    shared = Plan(model.config.model_type, {HIDDEN_SIZE: 48}, {HIDDEN_SIZE: SAME[0]}, "random", 0)
    plans = {HIDDEN_SIZE: shared, HIDDEN_SIZE_PER_LAYER: plan_of_hidden_sizes(model, *SAME)}
    known = {structure: collect(model, batches, sites=find_sites(model, [structure])) for structure in plans}
    cut = {structure: apply_plan(model, plan, known[structure]) for structure, plan in plans.items()}
    fixed = {
        structure: repair(each, model, batches, statistics=known[structure], ridge=1e-2)
        for structure, each in cut.items()
    }
    for one, other in (
        (cut[HIDDEN_SIZE], cut[HIDDEN_SIZE_PER_LAYER]),
        (fixed[HIDDEN_SIZE], fixed[HIDDEN_SIZE_PER_LAYER]),
    ):
        torch.testing.assert_close(answers(one, batches), answers(other, batches), rtol=1e-9, atol=1e-12)


def test_what_is_narrowed_is_saved_and_loaded(model, tmp_path):
    plan, batches = plan_of_hidden_sizes(model, *FALLING), inputs(model.config.model_type)
    small = apply_plan(model, plan)
    assert not torch.allclose(answers(small, batches), answers(model, batches))
    assert loads_in(every_site(model), plan.counts) == "infoprune"
    save(small, tmp_path / "out")
    back = load(tmp_path / "out")
    assert torch.equal(answers(back, batches), answers(small, batches))
    assert torch.equal(answers(copy.deepcopy(back), batches), answers(small, batches))
    shapes = [parameter.shape for parameter in empty_model(tmp_path / "out").parameters()]
    assert shapes == [parameter.shape for parameter in small.parameters()]


@SOME
def test_the_stream_itself_gets_narrower(model):
    """Every layer is given the coordinates of the one below, and what it says has its own."""
    seen = []
    small = apply_plan(model, plan_of_hidden_sizes(model, *FALLING))
    for site in find_sites(model, [HIDDEN_SIZE_PER_LAYER]):
        layer = small.get_submodule(site.residual.entry)
        layer.register_forward_hook(
            lambda _layer, _given, said: seen.append(said if torch.is_tensor(said) else said[0])
        )
    answers(small, inputs(model.config.model_type))
    assert [said.shape[-1] for said in seen[:2]] == [len(each) for each in FALLING]


@SOME
@pytest.mark.filterwarnings("ignore:.*calibration tokens")
def test_compensation_and_repair_come_nearer(model):
    batches = long_inputs(model.config.model_type)
    statistics = collect(model, batches, sites=find_sites(model, ["heads", "ffn", HIDDEN_SIZE_PER_LAYER]))
    plan = plan_of_hidden_sizes(model, *FALLING)
    dense = answers(model, batches)
    sliced, compensated = apply_plan(model, plan), apply_plan(model, plan, statistics)
    repaired = repair(compensated, model, batches, statistics=statistics, ridge=1e-2)
    again = repair(compensated, model, batches, ridge=1e-2)
    errors = [float((answers(each, batches) - dense).square().mean()) for each in (sliced, compensated, repaired)]
    assert errors[2] < 0.95 * min(errors[:2])
    torch.testing.assert_close(answers(again, batches), answers(repaired, batches), rtol=1e-6, atol=1e-9)


@SOME
@pytest.mark.parametrize("quantity", ["flops", "params"])
def test_costs_are_those_of_the_model_that_is_cut(model, quantity):
    batches, structures = long_inputs(model.config.model_type), ["heads", "ffn", HIDDEN_SIZE_PER_LAYER]
    costs = find_costs(model, quantity, batches, structures=structures, multiple=8)
    counts = {site.name: site.units for site in find_sites(model, structures)}
    for change in (
        {},
        {"layers.1.hidden-size": 16},
        {"layers.0.hidden-size": 40, "layers.1.hidden-size": 24, "layers.0.heads": 2, "layers.1.ffn": 24},
    ):
        wanted = counts | change
        thin = outline(model, wanted)
        true = (
            count_parameters(thin)
            if quantity == "params"
            else count_flops(thin, example_batch(model.config, *costs.shape))
        )
        assert costs.of(wanted) == pytest.approx(true, rel=1e-9)


@SOME
@pytest.mark.parametrize("share", [0.7, 0.4])
def test_a_budget_is_met_by_hidden_sizes_that_fall(model, share):
    batches, structures = long_inputs(model.config.model_type), ["heads", "ffn", HIDDEN_SIZE_PER_LAYER]
    statistics = collect(model, batches, sites=find_sites(model, structures))
    costs = find_costs(model, "flops", batches, structures=structures, multiple=8)
    rankings = rank(statistics, ChannelInformation())
    plan = allocate(rankings, Budget("flops", share), costs)
    sets = [{*kept} for name, kept in plan.kept.items() if name.endswith(".hidden-size")]
    assert all(above <= below for below, above in pairwise(sets))
    counts = {name: kept for name, (kept, _) in plan.counts.items()}
    assert costs.of(counts) <= share * costs.dense * (1 + 1e-9)
    fixed = replace(rankings, sites={n: each for n, each in rankings.sites.items() if not each.site.streams})
    others = find_costs(model, "flops", batches, structures=["heads", "ffn"], multiple=8)
    try:
        whole = allocate(fixed, Budget("flops", share), others)
    except InputError:
        return  # heads and neurons alone cannot
    assert plan.nats_lost <= whole.nats_lost * (1 + 1e-9)


@pytest.mark.parametrize("criterion", [ChannelInformation(), Random()], ids=lambda each: each.name)
def test_a_share_is_the_same_coordinates_everywhere(criterion):
    model = build("bert")
    statistics = collect(model, long_inputs("bert"), sites=find_sites(model, [HIDDEN_SIZE_PER_LAYER]))
    plan = allocate(rank(statistics, criterion), Keep(1 / 2))
    assert plan.counts == {"layers.0.hidden-size": (24, 48), "layers.1.hidden-size": (24, 48)}
    assert plan.kept["layers.0.hidden-size"] == plan.kept["layers.1.hidden-size"]


def test_what_is_not_read_from_here_on_goes_first():
    """Coordinate 7 is read in the bottom layer alone: above it is the first to go, free of charge; there it is not."""
    model = build("bert")
    below, above = find_sites(model, [HIDDEN_SIZE_PER_LAYER])
    for path in above.readers:
        model.get_submodule(path).weight.data[:, 7] = 0
    statistics = collect(model, long_inputs("bert"), sites=[below, above])
    ranked = rank(statistics, ChannelInformation(tau=1e-9)).sites
    assert ranked["layers.1.hidden-size"].order[0] == 7
    assert ranked["layers.1.hidden-size"].losses[0] < 1e-6 * ranked["layers.1.hidden-size"].losses.sum()
    assert (
        ranked["layers.0.hidden-size"].losses[ranked["layers.0.hidden-size"].order == 7]
        > 1e-4 * ranked["layers.0.hidden-size"].losses.sum()
    )


def test_a_narrowed_model_is_cut_again_elsewhere(tmp_path):
    model, batches = build("bert"), inputs("bert")
    first = apply_plan(model, plan_of_hidden_sizes(model, *FALLING))
    neurons = {site.name: tuple(range(site.units // 2)) for site in find_sites(first, ["ffn"])}
    second = apply_plan(
        first, Plan("bert", {name: 2 * len(kept) for name, kept in neurons.items()}, neurons, "random", 0)
    )
    assert plan_of(second).counts == plan_of_hidden_sizes(model, *FALLING).counts | {name: (20, 40) for name in neurons}
    assert torch.equal(answers(apply_plan(model, plan_of(second)), batches), answers(second, batches))
    save(second, tmp_path / "out")
    assert torch.equal(answers(load(tmp_path / "out"), batches), answers(second, batches))
    with pytest.raises(
        InputError, match="its layers already have hidden sizes of their own; start from the original model"
    ):
        find_sites(second, [HIDDEN_SIZE_PER_LAYER])
    with pytest.raises(
        InputError, match="its layers already have hidden sizes of their own; start from the original model"
    ):
        find_sites(second, [HIDDEN_SIZE])


def test_a_stream_that_narrows_past_blocks_that_are_gone(tmp_path):
    """Of one layer no head and of the other no neuron is left; all is repaired and saved."""
    model, batches = build("bert"), long_inputs("bert")
    sites = find_sites(model, ["heads", "ffn", HIDDEN_SIZE_PER_LAYER])
    kept = {site.name: tuple(range(site.units)) for site in sites}
    kept |= {
        "layers.0.heads": (),
        "layers.1.ffn": (),
        "layers.0.hidden-size": FALLING[0],
        "layers.1.hidden-size": FALLING[1],
    }
    small = apply_plan(model, Plan("bert", {site.name: site.units for site in sites}, kept, "random", 0))
    repaired, dense = repair(small, model, batches, ridge=1e-2), answers(model, batches)
    errors = [float((answers(each, batches) - dense).square().mean()) for each in (small, repaired)]
    assert errors[1] < 0.9 * errors[0]
    save(repaired, tmp_path / "out")
    assert torch.equal(answers(load(tmp_path / "out"), batches), answers(repaired, batches))


def test_a_cut_stream_has_one_hidden_size():
    model = build("bert")
    thin = apply_plan(model, Plan("bert", {HIDDEN_SIZE: 48}, {HIDDEN_SIZE: tuple(range(24))}, "random", 0))
    with pytest.raises(InputError, match="its hidden size was cut before; start from the original model"):
        find_sites(thin, [HIDDEN_SIZE_PER_LAYER])
    assert not any(site.structure == HIDDEN_SIZE_PER_LAYER for site in sites_by_name(thin).values())


def test_what_a_layer_has_dropped_is_gone_above(tmp_path):
    model = build("bert")
    refused = (
        r"coordinates in layers\.1\.hidden-size that a layer below it has dropped, expected some of those that are left"
    )
    for kept in ((tuple(range(24)), tuple(range(25))), (tuple(range(24)), tuple(range(48)))):
        with pytest.raises(InputError, match=refused):
            apply_plan(model, plan_of_hidden_sizes(model, *kept))
    save(apply_plan(model, plan_of_hidden_sizes(model, *FALLING)), tmp_path / "out")
    file = tmp_path / "out" / "plan.json"
    plan = Plan.from_json(file.read_text())
    damaged = replace(plan, kept=plan.kept | {"layers.1.hidden-size": tuple(range(1, 19))})
    file.write_text(damaged.to_json())
    with pytest.raises(InputError, match=refused):
        load(tmp_path / "out")
    others = (*plan.kept["layers.1.hidden-size"][:-1], 38)
    file.write_text(replace(plan, kept=plan.kept | {"layers.1.hidden-size": others}).to_json())
    with pytest.raises(InputError, match=r"other indices than bert\.encoder\.layer\.1\.stream_coordinates"):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "structures", "why"),
    [
        (
            "gpt2",
            [HIDDEN_SIZE_PER_LAYER],
            "lm_head is tied to the embeddings, so the first and the last layer need the same hidden size",
        ),
        ("bart", [HIDDEN_SIZE_PER_LAYER], "expected some of heads, ffn, cross-heads, hidden-size"),
        (
            "bert",
            [HIDDEN_SIZE_PER_LAYER, HIDDEN_SIZE],
            "expected one of them: both cut the coordinates of the residual stream",
        ),
    ],
)
def test_where_it_cannot_be(name, structures, why):
    with pytest.raises(InputError, match=why):
        find_sites(build(name), structures)


def test_no_stock_config_has_a_word_for_it():
    with pytest.raises(
        InputError,
        match="has no field for fewer hidden-size-per-layer; pass `shape=free`, or leave hidden-size-per-layer out",
    ):
        uniform_shape(build("bert"), ["ffn", HIDDEN_SIZE_PER_LAYER])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"settings": Settings(rounds=2)}, "expected one round: the hidden sizes depend on one another"),
        (
            {"settings": Settings(refresh="site"), "keep": 0.5},
            "expected one round: the hidden sizes depend on one another",
        ),
        (
            {"criterion": Fan2021()},
            "every layer reads the hidden size; leave hidden-size-per-layer out of `structures`",
        ),
        ({"budget": Budget("latency", 0.5)}, "latency does not support the hidden size yet"),
        ({"settings": Settings(shape="uniform")}, "has no field for fewer hidden-size-per-layer"),
    ],
)
def test_what_does_not_go_together(options, why):
    with pytest.raises(InputError, match=why):
        prune(build("bert"), long_inputs("bert"), structures=["heads", "ffn", HIDDEN_SIZE_PER_LAYER], **options)


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
def test_the_whole_flow():
    model, batches = build("bert"), long_inputs("bert")
    result = prune(model, batches, structures=["heads", "ffn", HIDDEN_SIZE_PER_LAYER], budget=Budget("flops", 0.5))
    assert result.report.loads_in == "infoprune"
    assert result.report.pruned.flops <= result.report.dense.flops / 2
    assert result.report.kept["layers.1.hidden-size"][0] <= result.report.kept["layers.0.hidden-size"][0]
