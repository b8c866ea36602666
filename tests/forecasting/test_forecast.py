"""A forecast counts on an empty model what the real one has; benchmarks/memory.py holds it against measured peaks."""

import sys
from dataclasses import replace

import pytest
import torch
import zoo
from tiny import make_batches
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from infoprune.checkpoint import empty_model, save
from infoprune.errors import InputError
from infoprune.forecasting.batch_pass import BatchPass
from infoprune.forecasting.forecast import forecast
from infoprune.forecasting.stages import STAGES
from infoprune.forecasting.workload import Workload
from infoprune.measuring.measure import count_bytes, count_flops, count_parameters, example_batch
from infoprune.pipeline.prune import prune
from infoprune.repairing.gauss_newton import ITERATIONS, Tokens, gauss_newton
from infoprune.repairing.neurons import CURVATURE, PER_INPUT, STEPS, TRIAL
from infoprune.statistics.calibration import with_targets
from infoprune.statistics.collect import collect
from infoprune.statistics.fisher import direction_count, directions
from infoprune.statistics.random_numbers import RandomNumbers
from infoprune.structure.sites import find_sites

WORK = Workload(samples=40, max_length=12, batch_size=8)


def emptied(model):
    return model.to("meta")


def asked(module, inputs, output):
    return output if output.requires_grad else output.requires_grad_()


def bytes_of(*tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_an_empty_model_has_the_sizes_of_the_real_one(tiny_bert):
    statistics = collect(tiny_bert, make_batches())
    flops = count_flops(tiny_bert, example_batch(tiny_bert.config, 8, 12))
    real = count_parameters(tiny_bert), count_bytes(tiny_bert)
    found = forecast(emptied(tiny_bert), WORK)
    assert (found.parameters, found.bytes) == real
    assert found.forward == 5 * flops
    assert found.passes == 1
    assert list(found.stages) == list(STAGES)
    for name, site in statistics.sites.items():
        sums = [each for moments in (site.tokens, site.importance) for each in (moments.mean, moments.triangle)]
        assert found.sites[name] == bytes_of(site.fisher, site.reader, site.produced, site.produced_sum, *sums)
    assert found.stages["collect"].bytes > sum(found.sites.values())
    assert found.peak == found.bytes + max(stage.bytes for stage in found.stages.values())
    assert found.seconds is None


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "t5"])
def test_what_a_pass_keeps_to_be_differentiated(family):
    """The graph of a real pass."""
    model = zoo.build(family, torch.float32).requires_grad_(False)
    batch = example_batch(model.config, 8, 12)
    own, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    for site in find_sites(model):
        model.get_submodule(site.reader).register_forward_hook(asked)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(**batch, **({"use_cache": False} if hasattr(model.config, "use_cache") else {}))
    real = sum(size for size, _ in kept.values())
    del output
    model = zoo.build(family, torch.float32)
    sites = find_sites(model)
    found = BatchPass.of(emptied(model), sites, WORK)
    assert found.kept == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize("family", zoo.FORMS)
def test_every_family_can_be_forecast(family):
    model = zoo.build(family, torch.float32)
    with_targets(model, [])
    if zoo.has_experts(family):
        with pytest.raises(InputError, match=f"a model of type '{family}' has experts, which a forecast does not"):
            forecast(emptied(model), WORK)
        return
    found = forecast(emptied(model), WORK)
    assert set(found.sites) == {site.name for site in find_sites(model)}
    assert all(stage.bytes > 0 for stage in found.stages.values())


@pytest.mark.parametrize("law", ["softmax", "sigmoid", "gaussian"])
@pytest.mark.parametrize("shape", [(3, 2), (3, 16), (3, 17), (3, 5, 4)])
def test_directions_are_counted(law, shape):
    outputs = torch.randn(shape)
    assert direction_count(outputs, 3, law) == len(list(directions(outputs, 3, RandomNumbers(0), law)))


def test_more_of_everything_takes_more(tiny_bert):
    model = emptied(tiny_bert)
    base = forecast(model, WORK).stages
    more = forecast(model, Workload(samples=80, max_length=12, batch_size=8)).stages
    assert more["collect"].bytes == base["collect"].bytes
    assert more["collect"].flops == 2 * base["collect"].flops
    assert more["repair"].bytes > base["repair"].bytes
    assert forecast(model, Workload(40, 12, 16)).stages["collect"].bytes > base["collect"].bytes
    assert forecast(model, Workload(40, 12, 8, keep=0.25)).stages["repair"].bytes < base["repair"].bytes
    assert forecast(model, WORK, structures=["ffn"]).stages["collect"].bytes < base["collect"].bytes


def test_little_memory_takes_another_pass(tiny_bert):
    model = emptied(tiny_bert)
    base = forecast(model, WORK)
    memory = base.bytes + base.stages["collect"].bytes * 3 // 4
    found = forecast(model, Workload(40, 12, 8, memory=memory))
    assert (base.passes, found.passes) == (1, 2)
    assert found.stages["collect"].bytes < base.stages["collect"].bytes
    assert found.stages["collect"].flops == base.stages["collect"].flops + base.forward
    assert found.stages["repair"] == base.stages["repair"]


def test_seconds_are_measured(tiny_bert):
    found = forecast(emptied(tiny_bert), WORK, device=torch.device("cpu"))
    assert all(stage.seconds > 0 for stage in found.stages.values())
    assert found.seconds == sum(stage.seconds for stage in found.stages.values())


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"max_length": 0}, {"batch_size": -1}, {"keep": 1.5}])
def test_work_that_makes_no_sense(wrong):
    with pytest.raises(InputError, match=r"expected a (number|share)"):
        Workload(**wrong)


def test_empty_models(tmp_path, make_tiny_bert):
    model = make_tiny_bert(torch.bfloat16)
    small = prune(model, make_batches(), keep=0.25).model
    for index, each in enumerate((model, small)):
        folder = tmp_path / str(index)
        save(each, folder)
        for file in folder.glob("*.safetensors"):
            file.unlink()
        empty = empty_model(folder)
        assert all(parameter.is_meta for parameter in empty.parameters())
        assert type(empty) is type(each)
        shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in each.named_parameters()}
        assert {name: (tensor.shape, tensor.dtype) for name, tensor in empty.named_parameters()} == shapes
    with pytest.raises(InputError, match=r"has no config\.json"):
        empty_model(tmp_path)


def test_a_repair_with_augmented_inputs_takes_what_one_of_as_many_inputs_does(tiny_bert):
    """480 tokens are few for readers of 64 inputs, so each gets two augmented inputs; 1,440 are enough."""
    few, many = (forecast(tiny_bert, replace(WORK, samples=samples)).stages for samples in (40, 120))
    assert few["repair"].bytes == many["repair"].bytes
    assert few["repair"].exact == many["repair"].exact
    assert many["collect"].flops == 3 * few["collect"].flops, "moments are those of the inputs alone"
    importance = few["repair"].flops - many["repair"].flops
    assert importance == 2 * few["collect"].flops, "the importance of the augmented inputs' tokens"


def _steps_of(model, per_input):
    """Operations of the steps alone, where so many tokens come to an input."""
    samples = per_input * model.config.hidden_size
    with_steps = forecast(model, Workload(samples=samples, max_length=1, batch_size=8), structures=["ffn"])
    return with_steps.stages["repair"].flops - with_steps.forward * 1.5


def test_neurons_are_refitted_where_tokens_are_many(monkeypatch, tiny_bert):
    """The bound is that of the repair, and the operations are those that PyTorch counts; half of 64 neurons stay."""
    monkeypatch.setattr(sys.modules["infoprune.forecasting.forecast"], "augmentations_wanted", lambda *_: 0)
    inputs = tiny_bert.config.hidden_size
    few, many = (
        forecast(tiny_bert, Workload(samples=samples, max_length=1, batch_size=8), structures=["ffn"]).stages["repair"]
        for samples in (PER_INPUT * inputs - 1, PER_INPUT * inputs)
    )
    more = _steps_of(tiny_bert, 2 * CURVATURE) / _steps_of(tiny_bert, CURVATURE)
    assert more < 1.8, "curvature of as many tokens"
    tokens, neurons = PER_INPUT * inputs, 32
    tokens_of = [Tokens(torch.randn(tokens, inputs), torch.randn(tokens, inputs), torch.ones(tokens))]
    begun, reader = torch.randn(1, neurons, inputs), (torch.randn(inputs, neurons), torch.randn(inputs))
    counted = []
    for iterations in (ITERATIONS, TRIAL):
        with FlopCounterMode(display=False) as counter:
            stride = max(1, PER_INPUT // CURVATURE)
            gauss_newton(begun, begun, reader, lambda each: each[0].relu(), tokens_of, 0.1, inputs, stride, iterations)
        counted.append(counter.get_total_flops())
    steps = STEPS * counted[0] + 3 / 4 * counted[1]
    assert many.flops - few.flops == pytest.approx(tiny_bert.config.num_hidden_layers * steps, rel=0.1)
    assert many.bytes > 1.2 * few.bytes
    assert many.exact > 1.5 * few.exact
