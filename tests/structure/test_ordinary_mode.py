"""Nothing that a caller has set around a call changes its result."""

import contextlib
import copy

import pytest
import torch
from tiny import make_batches

import infoprune
from infoprune.errors import InputError
from infoprune.structure.modes import ordinary_mode

BATCHES = make_batches(((9, 7, 12, 8),) * 2)


@contextlib.contextmanager
def default(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def everything():
    """For inference, in half precision, with new tensors in float64 and without values."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), default(torch.float64), torch.device("meta"):
        yield


AROUND = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "everything": everything,
    "deterministic": deterministic,
}


def pruned(model):
    return infoprune.prune(model, BATCHES, keep=0.5, distill=infoprune.Distillation(epochs=1, bf16=False)).model


@pytest.fixture(scope="module")
def expected(make_tiny_bert):
    return pruned(make_tiny_bert()).state_dict()


@pytest.mark.filterwarnings("ignore:.*calibration tokens", "ignore:training did not bring")
@pytest.mark.parametrize("around", AROUND)
def test_a_cut_and_its_training_are_the_same_in_every_surrounding(tiny_bert, expected, around):
    with AROUND[around]():
        found = pruned(tiny_bert).state_dict()
    for name, value in expected.items():
        assert not found[name].is_inference()
        assert torch.equal(found[name], value), name


def test_what_is_opened_and_written_is_the_same_in_every_surrounding(tiny_bert, tmp_path):
    with everything():
        infoprune.save(tiny_bert, tmp_path / "model")
        opened = infoprune.load(tmp_path / "model")
        infoprune.export(opened, tmp_path / "model.onnx", BATCHES)
        infoprune.forecast(opened, infoprune.Workload(samples=4, batch_size=2, max_length=8))
    for mine, given in zip(opened.parameters(), tiny_bert.parameters(), strict=True):
        assert not mine.is_inference()
        assert torch.equal(mine, given)


def test_the_surrounding_comes_back():
    with everything():
        with ordinary_mode():
            assert torch.zeros(1).dtype == torch.float32
            assert torch.zeros(1).device.type == "cpu"
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_autocast_enabled("cpu")
        with pytest.raises(ValueError, match="inside"), ordinary_mode():
            int("inside")
        assert torch.get_default_dtype() == torch.float64
        assert torch.zeros(1).device.type == "meta"
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.filterwarnings("ignore:.*calibration tokens", "ignore:training did not bring")
def test_weights_made_for_inference_are_refused_and_the_remedy_works(tiny_bert, expected):
    with torch.inference_mode():
        model = copy.deepcopy(tiny_bert)
        batches = [{name: value.clone() for name, value in batch.items()} for batch in BATCHES]
    assert infoprune.evaluate(model, batches).logits.shape == (8, 2)
    for call in (pruned, lambda model: infoprune.collect(model, batches)):
        with pytest.raises(InputError, match=r"made under torch.inference_mode\(\) .* copy.deepcopy\(model\)"):
            call(model)
    found = pruned(copy.deepcopy(model)).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.filterwarnings("ignore:.*calibration tokens", "ignore:training did not bring")
def test_frozen_weights_and_the_training_mode_change_nothing(tiny_bert, expected):
    tiny_bert.train().requires_grad_(False)
    found = pruned(tiny_bert)
    assert found.training
    assert not any(each.requires_grad for each in found.parameters())
    assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())
