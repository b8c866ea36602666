"""What must hold of the hidden size, for every family whose table describes the residual stream."""

import pytest
import torch
import transformers
from unregistered import plain_transformers
from zoo import FORMS, answers, build, inputs, long_inputs

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Keep
from infoprune.checkpoint import load, save
from infoprune.errors import InputError
from infoprune.families import FAMILIES
from infoprune.plan import HIDDEN_SIZE, Plan
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.structure.sites import every_site, find_sites
from infoprune.structure.stock import loads_in
from infoprune.surgery import apply_plan, outline

WIDE = [name for name, family in FAMILIES.items() if family.hidden_size is not None]
NARROW = [name for name, family in FAMILIES.items() if family.hidden_size is None]
FITTING = {"hidden-size": 2 / 3, "heads": 2 / 3, "cross-heads": 2 / 3, "ffn": 1 / 2, "pooler": 2 / 3}


@pytest.fixture(params=[name for name in FORMS if name in WIDE])
def model(request):
    return build(request.param)


def plan_for(model, shares, first=0):
    """A plan that keeps the first units of every site, but for some, a share for each type of structure."""
    kept = {}
    for site in every_site(model):
        count = int(site.units * shares.get(site.structure, 1))
        start = min(first, site.units - count)
        kept[site.name] = tuple(range(start, start + count))
    return Plan(model.config.model_type, {s.name: s.units for s in every_site(model)}, kept, "random", 0)


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


def test_a_full_hidden_size_is_the_identity(model):
    small = apply_plan(model, plan_for(model, {}))
    batches = inputs(model.config.model_type)
    assert torch.equal(answers(small, batches), answers(model, batches))


@pytest.mark.parametrize("model", WIDE, indirect=True)
@pytest.mark.parametrize("shares", [{"hidden-size": 1 / 2}, FITTING], ids=["alone", "fitting"])
def test_a_cut_hidden_size_is_saved_and_loaded(model, shares, tmp_path):
    plan = plan_for(model, shares, first=3)
    small, batches = apply_plan(model, plan), inputs(model.config.model_type)
    (hidden_size,) = find_sites(small, [HIDDEN_SIZE])
    assert hidden_size.units == 48 * shares["hidden-size"]
    assert not torch.equal(answers(small, batches), answers(model, batches))
    save(small, tmp_path / "out")
    assert torch.equal(answers(load(tmp_path / "out"), batches), answers(small, batches))
    plain = getattr(transformers, type(model).__name__)
    opens = loads_in(every_site(model), plan.counts)
    fields = {field.name for site in find_sites(model, [HIDDEN_SIZE]) for field in site.config}
    others = [field for site in every_site(model) if not site.streams for field in site.config]
    bound = {field.fills.name if field.fills else field.name for field in others} & fields
    assert opens == ("transformers" if fields and (not bound or shares is FITTING) else "infoprune")
    if opens == "transformers":
        back = plain.from_pretrained(tmp_path / "out").eval()
        assert relative(answers(back, batches), answers(small, batches)) < 1e-12
    else:
        with plain_transformers(), pytest.raises((RuntimeError, ValueError)):
            plain.from_pretrained(tmp_path / "out")
        assert torch.equal(
            answers(plain.from_pretrained(tmp_path / "out", dtype="auto"), batches), answers(small, batches)
        )


def test_every_vector_of_the_stream_loses_the_same_coordinates(model):
    """By hand, from the model's own names: a weight with an axis of the stream has what the plan keeps of it."""
    plan = plan_for(model, {"hidden-size": 1 / 2}, first=5)
    small, kept = apply_plan(model, plan), torch.tensor(plan.kept[HIDDEN_SIZE])
    for (name, new), old in zip(small.named_parameters(), model.parameters(), strict=True):
        for axis, (left, size) in enumerate(zip(new.shape, old.shape, strict=True)):
            if left != size:
                assert (left, size) == (24, 48)
                old = old.index_select(axis, kept)
        assert torch.equal(new, old), name
    if find_sites(model, [HIDDEN_SIZE])[0].residual.tied:
        assert small.get_input_embeddings().weight is small.get_output_embeddings().weight


def test_an_outline_is_as_large_as_a_cut(model):
    plan = plan_for(model, {"hidden-size": 1 / 2, "ffn": 1 / 2})
    thin = outline(model, {name: kept for name, (kept, _) in plan.counts.items()})
    assert [p.shape for p in thin.parameters()] == [p.shape for p in apply_plan(model, plan).parameters()]


@pytest.mark.filterwarnings("ignore:.*calibration tokens")
def test_compensation_and_repair_come_nearer(model):
    batches = long_inputs(model.config.model_type)
    statistics = collect(model, batches, sites=find_sites(model, [HIDDEN_SIZE, "ffn"]))
    plan = allocate(rank(statistics, ChannelInformation()), Keep(2 / 3))
    dense = answers(model, batches)
    sliced, compensated = apply_plan(model, plan), apply_plan(model, plan, statistics)
    repaired = repair(compensated, model, batches, statistics=statistics, ridge=1e-2)
    errors = [float((answers(each, batches) - dense).square().mean()) for each in (sliced, compensated, repaired)]
    assert errors[2] < 0.95 * min(errors[:2])  # before its norms are re-fitted compensation alone may be no better


def test_a_free_coordinate_goes_free_of_charge(model):
    """A coordinate that nothing reads is the first to go, and its loss is the smallest."""
    (site,) = find_sites(model, [HIDDEN_SIZE])
    if site.residual.tied:
        return
    for path in site.readers:
        module = model.get_submodule(path)
        weight = module.weight.data if isinstance(module, torch.nn.Linear) else module.weight.data.T
        weight[:, 7] = 0
    ranking = rank(collect(model, long_inputs(model.config.model_type), sites=[site]), ChannelInformation(tau=1e-9))
    assert ranking.sites[HIDDEN_SIZE].order[0] == 7
    assert ranking.sites[HIDDEN_SIZE].losses[0] < 1e-6 * ranking.sites[HIDDEN_SIZE].losses.sum()


@pytest.mark.parametrize("name", NARROW)
def test_others_refuse(name):
    with pytest.raises(InputError, match=rf"`structures` are hidden-size, expected some of .* for '{name}'"):
        find_sites(build(name), [HIDDEN_SIZE])


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("bert", {"auto": "AutoModel"}, "no head that reads the residual stream, so its embeddings would get shorter"),
        ("bert", {"auto": "AutoModelForMaskedLM"}, r"no head that reads|does not describe cls\.predictions"),
        ("bart", {"scale_embedding": True}, "it has scale_embedding=True, expected False"),
    ],
)
def test_models_whose_stream_is_not_known_refuse(name, options, why):
    model = build(name, **options)
    with pytest.raises(
        InputError,
        match=f"hidden size of this {name} cannot be cut: .*({why}).*; leave hidden-size out of `structures`",
    ):
        find_sites(model, [HIDDEN_SIZE])
    assert HIDDEN_SIZE not in {site.name for site in every_site(model)}


def test_a_projected_stream_leaves_the_tables_alone():
    projected, direct = build("electra", embedding_size=16), build("electra", embedding_size=48)
    thin = [apply_plan(each, plan_for(each, FITTING)) for each in (projected, direct)]
    assert [each.get_input_embeddings().weight.shape[1] for each in thin] == [16, 32]
    assert [each.config.embedding_size for each in thin] == [16, 32]


def test_the_hidden_layer_of_a_classifier_is_a_site():
    model = build("roberta")
    (site,) = find_sites(model, ["pooler"])
    assert (site.name, site.units, site.readers) == ("top.pooler", 48, ("classifier.out_proj",))
    with pytest.raises(InputError, match="no pooler that is read by a classifier; leave pooler out of `structures`"):
        find_sites(build("bert", auto="AutoModelForTokenClassification"), ["pooler"])


def test_a_narrow_stream_past_blocks_that_are_gone():
    """Of one layer no head and of the other no neuron is left; the stream around them is cut, repaired and saved."""
    model, batches = build("bert"), long_inputs("bert")
    units = {site.name: site.units for site in every_site(model)}
    kept = {name: tuple(range(count)) for name, count in units.items()}
    kept |= {"layers.0.heads": (), "layers.1.ffn": (), HIDDEN_SIZE: tuple(range(32))}
    plan = Plan("bert", units, kept, "random", 0)
    assert loads_in(every_site(model), plan.counts) == "infoprune"
    small, dense = apply_plan(model, plan), answers(model, batches)
    repaired = repair(small, model, batches, ridge=1e-2)
    errors = [float((answers(each, batches) - dense).square().mean()) for each in (small, repaired)]
    assert errors[1] < 0.9 * errors[0]
    again = apply_plan(repaired, plan_for(repaired, {"hidden-size": 1 / 2}))
    assert find_sites(again, [HIDDEN_SIZE])[0].units == 16
