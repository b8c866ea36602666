import pytest
import torch
from tiny import make_batches
from zoo import build, inputs

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import find_costs
from infoprune.budgets.shape import share_counts, uniform_shape, uniform_structures
from infoprune.errors import InputError
from infoprune.measuring.measure import count_flops, count_parameters, example_batch
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.plan import Plan, plan_of
from infoprune.ranking.criteria import ChannelInformation, Magnitude, Random
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.statistics.collect import collect
from infoprune.structure.sites import every_site, find_sites
from infoprune.structure.stock import loads_in
from infoprune.surgery import apply_plan

ALL = ("heads", "ffn", "hidden-size", "pooler")
UNIFORM = Settings(shape="uniform", repair=False)


@pytest.fixture(scope="module")
def bert():
    return build("bert", torch.float32)


@pytest.fixture(scope="module")
def batches():
    return make_batches()


def counted(model, quantity, shape):
    if quantity == "flops":
        return count_flops(model, example_batch(model.config, *shape))
    return count_parameters(model)


def rank_of(model, texts):
    return rank(collect(model, texts, sites=find_sites(model, ALL)), ChannelInformation())


@pytest.mark.parametrize(("name", "quantity"), [("bert", "flops"), ("bert", "params"), ("llama", "flops")])
def test_costs_are_those_of_the_cut_model(name, quantity):
    model, texts = build(name), inputs(name)
    structures = ALL if name == "bert" else ("heads", "ffn", "hidden-size")
    costs = find_costs(model, quantity, texts, structures=structures, multiple=8)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        kept = {
            site.name: tuple(range(int(torch.randint(1, site.units + 1, (1,), generator=generator))))
            for site in find_sites(model, structures)
        }
        plan = Plan(
            name,
            {site: len(kept[site]) for site in kept} | {s.name: s.units for s in find_sites(model, structures)},
            kept,
            "random",
            0,
        )
        small = apply_plan(model, plan)
        expected = counted(small, quantity, costs.shape)
        assert costs.of({site: len(units) for site, units in kept.items()}) == pytest.approx(expected, rel=1e-12)
    assert costs.dense == pytest.approx(counted(model, quantity, costs.shape))


@pytest.mark.parametrize(
    ("criterion", "shape"), [(ChannelInformation(), "free"), (Magnitude(), "free"), (Random(), "uniform")]
)
def test_a_budget_with_a_width_is_met(bert, batches, criterion, shape):
    settings = Settings(shape=shape, repair=False)
    sites = ALL if shape == "free" else None
    found = prune(bert, batches, budget=Budget("flops", 0.4), criterion=criterion, structures=sites, settings=settings)
    assert 0.25 < found.report.pruned.flops / found.report.dense.flops <= 0.4
    assert "hidden-size" in found.report.kept
    if shape == "uniform":
        assert found.report.loads_in == "transformers"


def test_no_combination_is_better_than_the_one_that_is_chosen(bert, batches):
    """With the width's nats by what the repair leaves of them, which turns at least one of the choices."""
    rankings = rank_of(bert, batches)
    costs, shape = find_costs(bert, "flops", batches, structures=ALL, multiple=8), uniform_shape(bert, ALL)

    def lost(counts, hidden_size):
        sites = rankings.sites.items()
        nats = {name: float(each.losses[: each.site.units - counts[name]].sum()) for name, each in sites}
        return sum(nats.values()) - (1 - hidden_size) * nats["hidden-size"]

    turned = 0
    for share in (percent / 100 for percent in range(20, 96, 3)):
        found = []
        for heads in range(1, 7):
            for neurons in range(8, 41, 8):
                numbers = {"heads": heads, "ffn": neurons, "hidden-size": 8 * heads, "pooler": 8 * heads}
                counts = {site.name: numbers[site.structure] for site in every_site(bert)}
                if costs.of(counts) <= share * costs.dense:
                    found.append(counts)
        best = min(found, key=lambda counts: lost(counts, 2 / 3))
        plan = allocate(rankings, Budget("flops", share), costs, shape)
        assert {name: kept for name, (kept, _) in plan.counts.items()} == best
        turned += best != min(found, key=lambda counts: lost(counts, 1))
    assert turned


def test_a_share_is_met_as_nearly_as_a_config_can_say(bert):
    structures = uniform_structures(bert, None)
    counts = share_counts(bert, structures, 0.6, uniform_shape(bert, structures))
    assert counts["hidden-size"] == counts["top.pooler"] == 8 * counts["layers.0.heads"] == 32
    assert counts["layers.1.ffn"] == 24


def test_several_rounds_end_in_the_shape(bert, batches):
    settings = Settings(shape="uniform", rounds=2, ridge=1e-2)
    found = prune(bert, batches, budget=Budget("params", 0.5), settings=settings)
    assert found.report.loads_in == "transformers"
    assert plan_of(found.model).counts["hidden-size"][0] < 48


@pytest.mark.parametrize(
    ("name", "structures", "expected"),
    [
        ("bert", None, ("heads", "ffn", "hidden-size", "pooler")),
        ("bert", ("heads", "hidden-size"), ("heads", "hidden-size", "pooler")),
        ("gpt2", None, ("heads", "ffn", "hidden-size")),
        ("llama", None, ("heads", "ffn")),
        ("deberta-v2", None, ("ffn",)),
    ],
)
def test_what_goes_together(name, structures, expected):
    model = build(name)
    assert uniform_structures(model, structures) == expected
    shape = uniform_shape(model, expected)
    counts = share_counts(model, expected, 0.5, shape)
    assert loads_in(every_site(model), {n: (k, 999) for n, k in counts.items()}) == "transformers"


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        (
            ("heads",),
            r"does not support fewer heads alone: its hidden_size is num_attention_heads x the size of a head",
        ),
        (
            ("hidden-size", "pooler"),
            r"does not support fewer pooler and hidden-size alone.*"
            r"cut heads and hidden-size together, or pass `shape=free`",
        ),
        (("pooler",), r"does not support fewer"),
    ],
)
def test_sizes_that_a_config_does_not_support(bert, batches, structures, message):
    with pytest.raises(InputError, match=message):
        prune(bert, batches, keep=0.5, structures=structures, settings=UNIFORM)


def test_a_family_without_a_field_for_heads(batches):
    with pytest.raises(
        InputError, match="a stock config of 'deberta-v2' has no field for fewer heads; pass `shape=free`"
    ):
        uniform_shape(build("deberta-v2"), ("heads",))


def test_layers_that_differ_already(bert):
    units = {site.name: site.units for site in find_sites(bert, ["ffn"])}
    uneven = apply_plan(bert, Plan("bert", units, {"layers.0.ffn": (0, 1), "layers.1.ffn": (4,)}, "random", 0))
    with pytest.raises(InputError, match=r"cannot open the model as it is: layers\.0\.ffn was cut before"):
        uniform_shape(uneven, ("ffn",))
    headless = apply_plan(bert, Plan("bert", {"layers.0.heads": 6}, {"layers.0.heads": (0, 1)}, "random", 0))
    with pytest.raises(InputError, match=r"cannot open the model as it is: layers\.0\.heads was cut before"):
        uniform_shape(headless, ("ffn",))


def test_a_budget_below_the_smallest_shape(bert, batches):
    costs, rankings = find_costs(bert, "params", batches, structures=ALL), rank_of(bert, batches)
    least = Budget("params", 1.001 * costs.least / costs.dense)
    with pytest.raises(InputError, match="the smallest shape that a stock config supports costs more"):
        allocate(rankings, least, costs, uniform_shape(bert, ALL, multiple=16))


def test_a_latency_budget_does_not_weigh_the_width(bert, batches):
    with pytest.raises(InputError, match=r"latency does not support the hidden size.*pass e\.g\. `budget=flops=0\.5`"):
        prune(bert, batches, budget=Budget("latency", 0.5), structures=ALL)


def test_blocks_that_are_left_out_have_no_stock_config(bert, batches):
    with pytest.raises(InputError, match=r"`shape=uniform` and `depth`.*leave `depth` out, or pass `shape=free`"):
        prune(bert, batches, budget=Budget("flops", 0.5, depth=True), settings=UNIFORM)


def test_a_criterion_that_looks_above_does_not_rank_the_width(bert, batches):
    with pytest.raises(
        InputError, match=r"'fan2021' compares one site with the one above.*leave hidden-size out of `structures`"
    ):
        prune(bert, batches, keep=0.5, criterion=Fan2021(), structures=("hidden-size",))


def test_the_width_is_a_multiple_of_eight(bert):
    (site,) = find_sites(bert, ["hidden-size"])
    assert [Keep(share).count(site) for share in (0.05, 0.4, 0.6, 0.99, 1.0)] == [8, 16, 32, 48, 48]


def test_a_width_that_no_config_can_say_is_cut_but_not_promised(bert, tmp_path):
    """Of 48 coordinates 20 stay, with heads of 8: no stock BERT, and nobody says so."""
    small = apply_plan(bert, Plan("bert", {"hidden-size": 48}, {"hidden-size": tuple(range(20))}, "random", 0))
    assert loads_in(every_site(bert), plan_of(small).counts) == "infoprune"
    assert small.config.hidden_size == 48
