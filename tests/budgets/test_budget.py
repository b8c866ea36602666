import pytest
import torch

from infoprune.budgets.budget import Budget, read_budget
from infoprune.budgets.costs import Costs
from infoprune.errors import InputError

COSTS = Costs("params", (1, 8), 500.0, {"layers.0.ffn": 10 * torch.arange(101.0).double()}, {"layers.0.ffn": (50, 100)})


@pytest.mark.parametrize(
    ("text", "quantity", "amount"),
    [
        ("flops=0.4", "flops", 0.4),
        ("latency = .5", "latency", 0.5),
        ("params=10M", "params", 10e6),
        ("params=2500000", "params", 2.5e6),
        ("bytes=20MB", "bytes", 20e6),
        ("bytes=512 kB", "bytes", 512e3),
        ("bytes=1.5GiB", "bytes", 1.5 * 2**30),
        ("bytes=1", "bytes", 1.0),
    ],
)
def test_what_can_be_read(text, quantity, amount):
    assert read_budget(text) == Budget(quantity, amount)
    assert read_budget(text, "uniform").allocation == "uniform"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.4", "'0.4' is incomplete, expected a quantity and an amount, one of: flops=0.5, params=10M, bytes"),
        ("energy=0.4", "'energy' is not known"),
        ("flops", r"'flops' is incomplete, .*; pass e\.g\. `budget=flops=0\.5`"),
        ("flops=half", r"a share up to 1 after flops=; pass e\.g\. `budget=flops=0\.5`"),
        ("params=10m", r"a number, with k, M or G if you like, after params=; pass e\.g\. `budget=params=10M`"),
        ("flops=-0.5", r"after flops="),
        ("flops=1.2.3", r"holds no number"),
        ("flops=0", r"flops=0, expected a share above 0 and at most 1; pass"),
        ("flops=2", r"flops=2, expected a share above 0 and at most 1; pass"),
        ("latency=20k", r"expected a share"),
        ("params=0", r"at most 1, or a number above 1 such as 20MB or 10M"),
        ("params=20MB", r"after params="),
        ("bytes=0.5B", r"is at most 1, expected more"),
        ("bytes=1e999", r"expected a share"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        read_budget(text)


def test_an_unknown_allocation():
    with pytest.raises(InputError, match="'fair', expected one of: nats, uniform"):
        Budget("flops", 0.5, "fair")


def test_shares_and_amounts():
    assert Budget("params", 0.75).limit(COSTS) == 0.75 * 1500
    assert Budget("params", 1200).limit(COSTS) == 1200


def test_the_least_that_is_possible_is_named_and_is_possible():
    with pytest.raises(
        InputError, match=r"params=0\.5` cannot be met.* has 66\.7% of its params; pass `budget=params=0\.667` or"
    ):
        Budget("params", 0.5).limit(COSTS)
    assert Budget("params", 0.667).limit(COSTS) >= COSTS.least
    with pytest.raises(
        InputError, match=r"params=600` cannot be met.*pass `budget=params=0\.667` or `budget=params=1000` or more"
    ):
        Budget("params", 600).limit(COSTS)
    assert Budget("params", 1000).limit(COSTS) == COSTS.least


def test_costs_of_another_quantity():
    with pytest.raises(InputError, match=r"the costs are params, expected flops; pass find_costs\(model, 'flops'"):
        Budget("flops", 0.5).limit(COSTS)


def test_a_model_with_nothing_left_to_remove():
    smallest = Costs("params", (1, 1), 1000.0, {}, {})
    with pytest.raises(
        InputError, match=r"params=0\.5` cannot be met: every site has its fewest units.*original model"
    ):
        Budget("params", 0.5).limit(smallest)
