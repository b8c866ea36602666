import pytest
import torch
from tiny import make_batches

from infoprune.budgets.costs import find_costs
from infoprune.errors import InputError
from infoprune.measuring.measure import count_bytes, count_flops, count_parameters, example_batch
from infoprune.plan import Plan
from infoprune.statistics.calibration import typical_shape
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

BATCHES = make_batches(((5, 9, 3, 6), (7, 4, 7)))
COUNTS = (
    {"layers.0.heads": 4, "layers.0.ffn": 64, "layers.1.heads": 4, "layers.1.ffn": 64},
    {"layers.0.heads": 1, "layers.0.ffn": 5, "layers.1.heads": 3, "layers.1.ffn": 64},
    {"layers.0.heads": 3, "layers.0.ffn": 1, "layers.1.heads": 1, "layers.1.ffn": 17},
)


def cut(model, counts):
    units = {site.name: site.units for site in find_sites(model)}
    kept = {name: tuple(range(counts.get(name, units[name]))) for name in units}
    return apply_plan(model, Plan("bert", units, kept, "first", 0))


def truly(model, quantity):
    if quantity == "flops":
        return count_flops(model, example_batch(model.config, *typical_shape(BATCHES, model.config)))
    return count_bytes(model) if quantity == "bytes" else count_parameters(model)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("quantity", ["flops", "params", "bytes"])
@pytest.mark.parametrize("counts", COUNTS, ids=["dense", "mixed", "small"])
def test_costs_are_those_of_models_that_are_really_cut(make_tiny_bert, attention, dtype, quantity, counts):
    model = make_tiny_bert(dtype, attn_implementation=attention)
    costs = find_costs(model, quantity, BATCHES, multiple=8)
    assert costs.of(counts) == truly(cut(model, counts), quantity)
    assert costs.dense == truly(model, quantity)
    least = {site.name: 8 if site.structure == "ffn" else 1 for site in find_sites(model)}
    assert costs.least == truly(cut(model, least), quantity)


def test_sites_that_may_not_be_cut_are_part_of_the_rest(tiny_bert):
    costs = find_costs(tiny_bert, "params", BATCHES, structures=["ffn"], multiple=1)
    assert costs.sites.keys() == {"layers.0.ffn", "layers.1.ffn"}
    assert costs.dense == count_parameters(tiny_bert)
    assert costs.of({"layers.0.ffn": 3, "layers.1.ffn": 9}) == count_parameters(
        cut(tiny_bert, {"layers.0.ffn": 3, "layers.1.ffn": 9})
    )


def test_sizes_are_whole_heads_and_multiples_of_neurons(make_tiny_bert):
    sizes = find_costs(make_tiny_bert(intermediate_size=20), "params", BATCHES, multiple=8).sizes
    assert sizes["layers.0.heads"] == (1, 2, 3, 4)
    assert sizes["layers.0.ffn"] == (8, 16, 20)
    few = find_costs(make_tiny_bert(intermediate_size=6), "params", BATCHES, multiple=8).sizes
    assert few["layers.0.ffn"] == (6,)


def test_the_typical_shape_has_the_flops_of_all_batches(tiny_bert):
    batches = [example_batch(tiny_bert.config, 4, length) for length in (8, 16, 40, 64)]
    inputs, tokens = typical_shape(batches, tiny_bert.config)
    assert (inputs, tokens) == (4, 47)
    # per token of a batch with padding, to what rounding the length does
    true = sum(count_flops(tiny_bert, batch) for batch in batches) / sum(b["input_ids"].numel() for b in batches)
    assert count_flops(tiny_bert, example_batch(tiny_bert.config, inputs, tokens)) / (inputs * tokens) == pytest.approx(
        true, rel=0.01
    )


def test_what_is_refused(tiny_bert):
    with pytest.raises(InputError, match=r"'money' is not known, expected one of: flops, params, bytes, latency"):
        find_costs(tiny_bert, "money", BATCHES)
    with pytest.raises(InputError, match="no calibration inputs"):
        find_costs(tiny_bert, "flops", [])
