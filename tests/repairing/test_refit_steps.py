"""What a repair re-fits, of every family: modules that a pass calls once, and the tokens that they read."""

import pytest
import torch
from zoo import FORMS, build, cast, inputs, long_inputs

from infoprune.families import FAMILIES
from infoprune.plan import Plan
from infoprune.repairing.refit_steps import refit_steps
from infoprune.repairing.repair import repair
from infoprune.statistics.calibration import real_tokens
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan

REPAIRED = [name for name in FORMS if name != "albert"]  # its layers are shared
CROSSED = ("bart", "marian", "whisper")


def halved(model, structures=("ffn", "heads", "cross-heads")):
    kept = {site.name: tuple(range(site.units // 2)) for site in find_sites(model) if site.structure in structures}
    units = {site.name: site.units for site in find_sites(model) if site.structure in structures}
    return apply_plan(model, Plan(model.config.model_type, units, kept, "random", 0))


@pytest.mark.parametrize("name", REPAIRED)
def test_every_place_is_called_once_and_its_tokens_are_those_of_its_stack(name):
    dense = build(name)
    small, batch = halved(dense), cast(inputs(name), torch.float64)[0]
    steps, met = refit_steps(small, dense), {}
    for path in steps:
        module = small.get_submodule(path)
        module.register_forward_pre_hook(
            lambda _, x, path=path: met.setdefault(path, []).append(x[0].shape[:-1].numel())
        )
    with torch.no_grad():
        small(**batch)
    for path, step in steps.items():
        assert len(met[path]) == 1, path
        if FAMILIES[name].reads_tokens and step.stack != "pictures":
            assert met[path][0] == real_tokens(batch, step.stack).numel(), path


@pytest.mark.parametrize("name", REPAIRED)
def test_all_that_writes_units_is_refitted_unless_it_is_called_twice(name):
    dense = build(name)
    steps = refit_steps(halved(dense), dense)
    for site in find_sites(dense):
        left_out = {producer.module for producer in site.producers} - steps.keys()
        assert name in ("deberta", "deberta-v2") or not left_out
        assert set(site.readers) <= steps.keys() or site.structure == "pooler"


@pytest.mark.parametrize("name", CROSSED)
def test_cross_attention_is_fitted_to_the_encoder_as_it_was(monkeypatch, name):
    """Its keys and values come nearer to the dense model's than a repair of all else brings them."""
    dense = build(name)
    small, batches = halved(dense), long_inputs(name)
    repaired = repair(small, dense, batches)

    def all_else(*models):
        crossing = {path for site in find_sites(dense) for path in site.crossing}
        return {path: step for path, step in refit_steps(*models).items() if path not in crossing}

    monkeypatch.setattr("infoprune.repairing.repair.refit_steps", all_else)
    other = repair(small, dense, batches)
    for path in ("k_proj", "v_proj"):
        module = next(each for each, _ in dense.named_modules() if each.endswith(f"encoder_attn.{path}"))
        kept = len(small.get_submodule(module).weight)
        without, after = (apart(model, dense, module, kept, batches) for model in (other, repaired))
        assert after < 0.98 * without


def apart(model, dense, path, kept, batches):
    """Squared distance of a module's outputs in two models, at the units that one still has."""
    found = []
    for each in (model, dense):
        outputs = []
        handle = each.get_submodule(path).register_forward_hook(
            lambda _, x, y, outputs=outputs: outputs.append(y[..., :kept])
        )
        with torch.no_grad():
            for batch in batches:
                each(**batch)
        handle.remove()
        found.append(outputs)
    return sum(float((a - b).square().sum()) for a, b in zip(*found, strict=True))
