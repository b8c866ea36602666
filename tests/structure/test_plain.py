"""Plain: what is no model of transformers with its weights is refused by every function that works on one."""

import pytest
import torch
from tiny import make_batches
from torch import nn
from torch.nn.parallel import DataParallel

import infoprune
from infoprune.errors import InputError
from infoprune.structure.plain import on_plain_model, plain_model


class Wrapper(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.net = nn.ModuleDict({"encoder": model})


class FullyShardedDataParallel(Wrapper):
    """Wrapper of this name, as torch.distributed.fsdp has one, which needs a process group."""


def traced(model):
    model.config.return_dict = False
    return torch.jit.trace(model, (make_batches()[0]["input_ids"],), strict=False)


THINGS = {
    "DataParallel": (DataParallel, "wrapped in DataParallel.*pass model.module"),
    "FSDP": (FullyShardedDataParallel, "sharded over processes.*gather them first"),
    "jit": (traced, "compiled by torch.jit.*pass the model that it was made from"),
    "meta": (lambda model: model.to("meta"), "on the meta device.*infoprune.load"),
    "a wrapper": (Wrapper, r"is a Wrapper.*pass the model inside it, model\.net\.encoder"),
    "no model": (lambda _: nn.Linear(2, 2), "is a Linear.*open one with infoprune.load"),
    "a path": (lambda _: "my-model", "is a str.*open one with infoprune.load"),
}
FUNCTIONS = {
    "prune": lambda model, _: infoprune.prune(model, make_batches(), keep=0.5),
    "collect": lambda model, _: infoprune.collect(model, make_batches()),
    "distill": lambda model, _: infoprune.distill(model, model, make_batches()),
    "repair": lambda model, _: infoprune.repair(model, model, make_batches()),
    "export": lambda model, out: infoprune.export(model, out / "model.onnx", make_batches()),
    "find_costs": lambda model, _: infoprune.find_costs(model, "flops", make_batches()),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("thing", THINGS)
def test_what_is_no_plain_model_is_refused_with_what_to_pass(tiny_bert, tmp_path, thing):
    wrap, words = THINGS[thing]
    given = wrap(tiny_bert)
    for name, call in FUNCTIONS.items():
        with pytest.raises(InputError, match=words) as raised:
            call(given, tmp_path)
        assert "\n" not in str(raised.value), name
    if thing != "a path":  # a wrong type, which the type checker of the tests finds first
        with pytest.raises(InputError, match=words):
            infoprune.save(given, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []
    if thing == "meta":
        with pytest.raises(InputError, match=words):
            infoprune.evaluate(given, make_batches())
    if thing != "meta":
        for call in (infoprune.find_sites, lambda model: infoprune.forecast(model, infoprune.Workload())):
            with pytest.raises(InputError, match=words):
                call(given)


def test_a_compiled_model_is_the_model_inside(tiny_bert):
    compiled = torch.compile(tiny_bert)
    assert plain_model(compiled) is tiny_bert
    assert on_plain_model(lambda model: model)(compiled) is tiny_bert
    assert on_plain_model(lambda model: model)(model=compiled) is tiny_bert
    assert infoprune.find_sites(compiled) == infoprune.find_sites(tiny_bert)
