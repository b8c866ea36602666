"""A position bias with a column per head that all layers share: each layer uses the columns of its own heads."""

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from test_contract import even, masked, plan_for, relative, uneven
from zoo import answers, build, inputs

from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.measuring.measure import count_parameters
from infoprune.structure.position_bias import BIAS_HEADS
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan, outline

BIASED = [name for name, family in FAMILIES.items() if any(row.bias and row.bias.table for row in family.sites)]


@pytest.fixture(params=BIASED)
def model(request):
    return build(request.param)


@pytest.fixture(params=[*BIASED, "bloom"])  # where a formula gives the bias
def biased(request):
    return build(request.param)


def tables(model):
    """The columns of every head, by table."""
    paths = {site.bias.table for site in find_sites(model) if site.bias is not None} - {None}
    return {path: model.get_submodule(path).weight for path in paths}


def test_the_bias_matters_here(model):
    """Else the laws of the contract would hold for the columns of any other heads."""
    batches, changed = inputs(model.config.model_type), build(model.config.model_type)
    for weight in tables(changed).values():
        weight.data = weight.data.flip(1)
    assert relative(answers(changed, batches), answers(model, batches)) > 1e-3


def test_the_columns_stay_in_one_table(model):
    plan = plan_for(model, uneven(model))
    small = apply_plan(model, plan)
    assert tables(small).keys() == tables(model).keys()
    assert all(torch.equal(new, old) for new, old in zip(tables(small).values(), tables(model).values(), strict=True))
    removed = sum(
        old.numel() - new.numel()
        for (name, new), (_, old) in zip(small.named_parameters(), model.named_parameters(), strict=True)
    )
    assert count_parameters(model) - count_parameters(small) == removed > 0
    kept = [plan.kept[site.name] for site in find_sites(model) if site.bias is not None and site.bias.table is not None]
    index = [each.tolist() for name, each in small.named_buffers() if name.endswith(BIAS_HEADS)]
    assert sorted(map(tuple, index)) == sorted(kept)


def test_equal_sizes_do_not_mean_equal_heads(biased, tmp_path):
    """Every layer keeps four heads, other ones in the second: no stock model can be told which."""
    model = biased
    plan = plan_for(model, {name: kept for name, kept in even(model).items() if name.endswith("heads")})
    assert len({len(kept) for kept in plan.kept.values()}) == 1 < len(set(plan.kept.values()))
    small, batches = apply_plan(model, plan), inputs(model.config.model_type)
    save(small, tmp_path / "out")
    back = getattr(transformers, type(model).__name__).from_pretrained(tmp_path / "out", dtype="auto")
    assert torch.equal(answers(back, batches), answers(small, batches))
    assert relative(answers(back, batches), answers(masked(model, plan), batches)) < 1e-12


def test_a_second_cut_counts_from_the_first(biased, tmp_path):
    """Also after the model was saved and loaded, and where an attention is removed by the second cut."""
    model = biased
    first = plan_for(model, uneven(model))
    save(apply_plan(model, first), tmp_path / "out")
    small = load(tmp_path / "out")
    kept = {site.name: tuple(range(1, site.units)) for site in find_sites(small)}
    kept |= {site.name: () for site in find_sites(small, ["heads"]) if site.layer == 0 and site.least == 0}
    smaller, batches = apply_plan(small, plan_for(small, kept)), inputs(model.config.model_type)
    units = {site.name: site.units for site in find_sites(model)}
    both = {name: tuple(first.kept[name][unit] for unit in chosen) for name, chosen in kept.items()}
    whole = plan_for(model, {name: both.get(name, tuple(range(count))) for name, count in units.items()})
    assert relative(answers(smaller, batches), answers(masked(model, whole), batches)) < 1e-12
    save(smaller, tmp_path / "again")
    assert torch.equal(answers(load(tmp_path / "again"), batches), answers(smaller, batches))


def test_an_outline_of_all_heads_has_no_index(model):
    site = find_sites(model, ["heads"])[0]
    whole, one = (outline(model, {site.name: count}) for count in (site.units, 1))
    assert whole.state_dict().keys() == model.state_dict().keys()
    assert one.state_dict().keys() - model.state_dict().keys() == {f"{site.bias.module}.{BIAS_HEADS}"}
    batches = inputs(model.config.model_type)
    assert torch.equal(answers(whole, batches), answers(model, batches))


@pytest.mark.parametrize("damaged", [6, -1, 0])
def test_a_damaged_index_is_refused(damaged, tmp_path):
    """Of six heads: past the last, before the first, and not ascending."""
    model = build("mpnet")
    save(apply_plan(model, plan_for(model, even(model))), tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    weights = load_file(file)
    weights[next(name for name in weights if name.endswith(BIAS_HEADS))][-1] = damaged
    save_file(weights, file, {"format": "pt"})
    for opened in (load, transformers.AutoModel.from_pretrained):
        with pytest.raises(InputError, match=f"{BIAS_HEADS} in the weights has indices that do not fit"):
            opened(tmp_path / "out")


def test_another_index_than_the_plan_is_refused(tmp_path):
    model = build("t5")
    save(apply_plan(model, plan_for(model, even(model))), tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    weights = load_file(file)
    weights[next(name for name in weights if name.endswith(BIAS_HEADS))][-1] = 5
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(InputError, match=f"the plan has other indices than .*{BIAS_HEADS}"):
        load(tmp_path / "out")


def test_a_decoder_that_reads_nothing_any_more_is_pruned_again():
    """No block of the decoder reads the encoder, so the answer has no gradient there."""
    from infoprune.statistics.collect import collect

    model = build("t5", torch.float32)
    gone = {site.name: () for site in find_sites(model, ["cross-heads"])}
    small, batches = apply_plan(model, plan_for(model, gone)), inputs("t5")
    statistics = collect(small, batches)
    assert statistics.levels["layers.0.ffn"] == 0 < statistics.levels["decoder.0.ffn"]
