"""What must hold for every family in the table."""

import copy
import json
from functools import reduce

import pytest
import torch
import transformers
from unregistered import plain_transformers
from zoo import answers, build, cast, inputs, kind_of, long_inputs

from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.measuring.measure import count_parameters
from infoprune.pipeline.prune import prune
from infoprune.pipeline.settings import Settings
from infoprune.plan import Plan
from infoprune.ranking.criteria import ChannelInformation
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites
from infoprune.structure.slices import unit_coordinates
from infoprune.structure.stock import loads_in
from infoprune.surgery import apply_plan


def uneven(model):
    """Keeps other units in every layer, and other numbers of them."""
    return {
        site.name: tuple(range(site.layer % 2, site.units - (site.layer + 1) % 2, 1 + (site.structure == "ffn")))
        for site in find_sites(model)
    }


def even(model):
    """Keeps as many units in every layer."""
    return {site.name: tuple(range(site.layer % 2, site.layer % 2 + site.units // 3 * 2)) for site in find_sites(model)}


def plan_for(model, kept):
    units = {site.name: site.units for site in find_sites(model) if site.name in kept}
    return Plan(model.config.model_type, units, kept, "random", 0)


def masked(model, plan):
    """The plain way: what the dropped units say is read as zero."""
    model = copy.deepcopy(model)
    for site in find_sites(model):
        dropped = [unit for unit in range(site.units) if unit not in plan.kept.get(site.name, range(site.units))]
        columns = unit_coordinates(torch.tensor(dropped, dtype=torch.long), site.size)
        for path in site.readers:
            module = model.get_submodule(path)
            if isinstance(module, torch.nn.Linear):
                module.weight.data[:, columns] = 0
            else:
                module.weight.data[columns] = 0
    return model


def duplicate(model, site):
    """Makes the last unit say what the first one says: everything that is written for it, in every part."""
    last = torch.tensor([site.units - 1])
    for producer in site.producers:
        module = model.get_submodule(producer.module)
        new, old = producer.rows(last, site.units), producer.rows(torch.tensor([0]), site.units)
        weight = module.weight.data if isinstance(module, torch.nn.Linear) else module.weight.data.T
        weight[new] = weight[old]
        if module.bias is not None:
            module.bias.data[new] = module.bias.data[old]
    if site.bias is not None and site.bias.table is not None:
        columns = model.get_submodule(site.bias.table).weight.data
        columns[:, last] = columns[:, [0]]


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_slicing_is_masking(family, attention):
    if attention == "sdpa" and not kind_of(family.model_type)._supports_sdpa:
        with pytest.raises(ValueError, match="does not support"):
            build(family.model_type, attn_implementation=attention)
        return
    model = build(family.model_type, attn_implementation=attention)
    batches = inputs(family.model_type)
    dense = answers(model, batches)
    everything = uneven(model)
    for chosen in ({name: kept} for name, kept in everything.items()):
        plan = plan_for(model, chosen)
        small = answers(apply_plan(model, plan), batches)
        assert relative(small, answers(masked(model, plan), batches)) < 1e-12
        assert relative(small, dense) > 1e-6
    plan = plan_for(model, everything)
    assert relative(answers(apply_plan(model, plan), batches), answers(masked(model, plan), batches)) < 1e-12


def test_a_full_plan_is_the_identity(family):
    model = build(family.model_type)
    whole = plan_for(model, {site.name: tuple(range(site.units)) for site in find_sites(model)})
    small = apply_plan(model, whole)
    assert torch.equal(answers(small, inputs(family.model_type)), answers(model, inputs(family.model_type)))
    assert small.state_dict().keys() == model.state_dict().keys()


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
def test_compress_end_to_end(kind):
    model, batches = build(kind.model_type, torch.float32), inputs(kind.model_type)
    settings = Settings(repair=not kind.shared, ridge=1e-2)
    first, again = (prune(model, batches, keep=2 / 3, settings=settings) for _ in range(2))
    assert first.plan == again.plan
    assert torch.equal(answers(first.model, batches), answers(again.model, batches))
    assert torch.isfinite(answers(first.model, batches)).all()
    before, after = find_sites(model), find_sites(first.model)
    assert all(new.units == round(old.units * 2 / 3) for old, new in zip(before, after, strict=True))
    assert {site.structure for site in before} == set(kind.structures)
    report = first.report
    assert report.pruned.parameters == sum(p.numel() for p in first.model.parameters()) < report.dense.parameters
    assert report.dense.parameters == count_parameters(model)
    assert report.pruned.flops < report.dense.flops
    assert report.nats_lost >= 0


@pytest.mark.parametrize("shape", [even, uneven])
def test_save_and_load(family, shape, tmp_path):
    model = build(family.model_type)
    plan = plan_for(model, shape(model))
    small = apply_plan(model, plan)
    save(small, tmp_path / "out")
    expected = answers(small, inputs(family.model_type))
    assert torch.equal(answers(load(tmp_path / "out"), inputs(family.model_type)), expected)
    plain = getattr(transformers, type(model).__name__)
    if loads_in(find_sites(model), plan.counts) == "transformers":
        back = plain.from_pretrained(tmp_path / "out", dtype="auto").eval()  # the default of transformers 5
        assert all(torch.equal(back.state_dict()[name], weight) for name, weight in small.state_dict().items())
        # its memory may be aligned otherwise, on which the last bits of a product depend
        assert relative(answers(back, inputs(family.model_type)), expected) < 1e-12
    else:
        with plain_transformers(), pytest.raises((RuntimeError, ValueError)):
            plain.from_pretrained(tmp_path / "out")
        back = plain.from_pretrained(tmp_path / "out", dtype="auto")
        assert torch.equal(answers(back, inputs(family.model_type)), expected)


@pytest.mark.parametrize("row", range(3))
def test_what_the_table_says_of_plain_transformers(family, row, tmp_path):
    """A structure with a config field loads in transformers if it is cut equally in all layers, and only then."""
    if row >= len(family.structures):
        return
    model, structure = build(family.model_type), family.structures[row]
    rows = [each for stack in family.stacks.values() for each in stack.sites if each.structure == structure]
    kept = {name: units for name, units in even(model).items() if name.endswith(f".{structure}")}
    plan = plan_for(model, kept)
    opens = loads_in(find_sites(model), plan.counts)
    said = all(each.config and not any(field.fills for field in each.config) for each in rows)
    assert opens == ("transformers" if said else "infoprune")
    save(apply_plan(model, plan), tmp_path / "out")
    if opens == "transformers":
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        for each in rows:
            *path, name = each.config[0].name.split(".")
            assert name in reduce(dict.__getitem__, path, config)
        getattr(transformers, type(model).__name__).from_pretrained(tmp_path / "out")


def test_generation_with_a_cache(family):
    lengths = {"causal-lm": 13, "seq2seq": 7, "speech-recognition": 6}  # the last leaves out what it starts from
    if family.task not in lengths:
        return
    model = build(family.model_type)
    small = apply_plan(model, plan_for(model, uneven(model)))
    batch = cast(inputs(family.model_type), torch.float64)[0]
    name = model.main_input_name
    prompt = {name: batch[name][2:, :7] if family.reads_tokens else batch[name][2:]}
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    with_cache, without = (small.generate(**prompt, use_cache=use, **options) for use in (True, False))
    assert with_cache.shape == (1, lengths[family.task])
    assert torch.equal(with_cache, without)


def test_shapes_change_where_asked_and_nowhere_else(family):
    model = build(family.model_type)
    for structure in family.structures:
        chosen = {site.name: (0,) for site in find_sites(model, [structure])}
        small = apply_plan(model, plan_for(model, chosen))
        for before, after in zip(find_sites(model), find_sites(small), strict=True):
            assert after.units == (1 if before.structure == structure else before.units)
            assert after.size == before.size
        touched = [path for site in find_sites(model, [structure]) for path in site.readers]
        touched += [rows.module for site in find_sites(model, [structure]) for rows in site.producers]
        for name, weight in model.state_dict().items():
            same = small.state_dict()[name].shape == weight.shape
            if name.endswith(".weight"):
                assert same == (name.removesuffix(".weight") not in touched), name


def test_compensation_brings_back_a_copy(family):
    """Of two units that say the same one goes free of charge, whatever the weights are laid out like."""
    model = build(family.model_type)
    for site in find_sites(model):
        duplicate(model, site)
    batches = long_inputs(family.model_type)
    dense = answers(model, batches)
    statistics = collect(model, batches, shrinkage=1e-11)
    plan = plan_for(model, {site.name: tuple(range(site.units - 1)) for site in find_sites(model)})
    assert relative(answers(apply_plan(model, plan, statistics), batches), dense) < 1e-5
    assert relative(answers(apply_plan(model, plan), batches), dense) > 1e-3
    for site in statistics.sites.values():
        removal = ChannelInformation().rank_site(site, torch.Generator())
        first = min(removal.order.tolist().index(unit) for unit in (0, site.site.units - 1))
        assert float(removal.losses[: first + 1].sum()) < 1e-6 * float(removal.losses.sum())


def test_repair_comes_nearer(kind):
    model, batches = build(kind.model_type), long_inputs(kind.model_type)
    plan = plan_for(model, even(model))
    small = apply_plan(model, plan)
    if kind.shared:
        with pytest.raises(InputError, match=r"several times in a pass.*`repair=False`"):
            repair(small, model, batches)
        with pytest.raises(InputError, match=r"several times in a pass.*`repair=False`"):
            prune(model, batches)
        return
    dense = answers(model, batches)
    before = (answers(small, batches) - dense).square().mean()
    for producers in (True, False):
        repaired = repair(small, model, batches, ridge=1e-3, producers=producers)
        assert (answers(repaired, batches) - dense).square().mean() < 0.9 * before


def test_a_repair_of_nothing_changes_nothing(family):
    if family.shared:
        return
    model, batches = build(family.model_type), cast(inputs(family.model_type), torch.float64)
    repaired = repair(model, model, batches, ridge=1e-3)
    assert relative(answers(repaired, batches), answers(model, batches)) < 1e-9
