"""What must hold of the residual stream's width, for every family whose table has it."""

import pytest
import torch
import transformers
from test_contract import relative
from zoo import answers, build, inputs

from infoprune.checkpoint import load, save
from infoprune.families import FAMILIES
from infoprune.plan import Plan
from infoprune.structure.sites import every_site, find_sites
from infoprune.structure.stock import loads_in
from infoprune.surgery import outline, prune

WIDE = [name for name, family in FAMILIES.items() if family.width is not None]


@pytest.fixture(params=WIDE)
def model(request):
    return build(request.param)


def kept_of(model, shares):
    """The first units of every site, a share for each kind."""
    return {s.name: tuple(range(int(s.units * shares.get(s.kind, 1)))) for s in every_site(model)}


def plan_of_all(model, kept):
    return Plan(model.config.model_type, {s.name: s.units for s in every_site(model)}, kept, "random", 0)


def test_what_a_coordinate_is(model):
    """Zeroing what the dropped coordinates say, between norms that are told of fewer, is slicing: here without norms."""
    (site,) = find_sites(model, ["width"])
    assert site.units == 48
    small = prune(model, plan_of_all(model, kept_of(model, {"width": 2 / 3})))
    for path in site.residual.readers:
        assert small.get_submodule(path).weight.shape != model.get_submodule(path).weight.shape
    assert not any(48 in p.shape for path in site.residual.tables for p in small.get_submodule(path).parameters())
    assert torch.isfinite(answers(small, inputs(model.config.model_type))).all()


def test_a_full_width_is_the_identity(model):
    small = prune(model, plan_of_all(model, kept_of(model, {})))
    batches = inputs(model.config.model_type)
    assert torch.equal(answers(small, batches), answers(model, batches))


@pytest.mark.parametrize("shares", [{"width": 1 / 2}, {"width": 2 / 3, "heads": 2 / 3, "ffn": 1 / 2, "pooler": 2 / 3}])
def test_a_cut_width_is_saved_and_loaded(model, shares, tmp_path):
    if "cross-heads" in model.config.model_type or model.config.model_type == "bart":
        shares = {**shares, "cross-heads": shares.get("heads", 1)}
    plan = plan_of_all(model, kept_of(model, shares))
    small, batches = prune(model, plan), inputs(model.config.model_type)
    save(small, tmp_path / "out")
    assert torch.equal(answers(load(tmp_path / "out"), batches), answers(small, batches))
    opens = loads_in(every_site(model), plan.counts)
    plain = getattr(transformers, type(model).__name__)
    if opens == "transformers":
        back = plain.from_pretrained(tmp_path / "out", dtype=torch.float64).eval()
        assert relative(answers(back, batches), answers(small, batches)) < 1e-12
    else:
        with pytest.raises((RuntimeError, ValueError)):
            plain.from_pretrained(tmp_path / "out")
    if len(shares) > 2:
        assert opens == "transformers"


def test_an_outline_counts_what_a_cut_leaves(model):
    shares = {"width": 1 / 2, "ffn": 1 / 2}
    plan = plan_of_all(model, kept_of(model, shares))
    sizes = [
        sum(p.numel() for p in each.parameters())
        for each in (prune(model, plan), outline(model, {n: k for n, (k, _) in plan.counts.items()}))
    ]
    assert sizes[0] == sizes[1]
