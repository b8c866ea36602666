"""A limit of the process's memory: what it leaves for statistics and repair, and what it refuses before the work."""

import re

import pytest
import torch
from tiny import make_batches

from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget, Keep
from infoprune.errors import InputError
from infoprune.measuring.free_memory import memory_in_use
from infoprune.measuring.measure import device_of
from infoprune.pipeline import allowance as module
from infoprune.pipeline.allowance import LEAST, Allowance, allowance
from infoprune.pipeline.clock import Clock
from infoprune.pipeline.rounds import Rounds
from infoprune.pipeline.settings import Settings
from infoprune.pipeline.size_schedule import size_schedule
from infoprune.ranking.criteria import criterion_named
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.surgery import apply_plan

GIGABYTE = 10**9


def left(model, memory, size=Keep(0.5), *, repairs=True, structures=None):  # noqa: B008
    return allowance(model, make_batches(), memory, size, structures=structures, repairs=repairs).graph


def many_texts(batches=64, size=64, length=32):
    return [{"input_ids": torch.full((size, length), number + 5)} for number in range(batches)]


def test_no_limit(tiny_bert):
    assert left(tiny_bert, None) is None
    assert allowance(tiny_bert, many_texts(), None, Keep(0.5), structures=None, repairs=True) == Allowance()


@pytest.mark.parametrize("size", [Keep(0.25), Budget("flops", 0.4), Budget("params", 10_000)])
@pytest.mark.parametrize("structures", [None, ["ffn"], ["hidden-size"]])
def test_what_the_process_has_taken_counts(tiny_bert, size, structures):
    memory = memory_in_use(device_of(tiny_bert)) + GIGABYTE
    found = left(tiny_bert, memory, size, structures=structures)
    assert 0.8 * GIGABYTE < found < 1.01 * GIGABYTE
    assert left(tiny_bert, memory + GIGABYTE, size) == pytest.approx(found + GIGABYTE, rel=0.05)


def test_too_little_is_refused_with_a_number_that_is_enough(tiny_bert):
    with pytest.raises(InputError, match=r"the repair of \d+ texts takes the process to [\d,]+ MiB") as refusal:
        left(tiny_bert, 1000)
    with pytest.raises(InputError, match=r"ranking takes the process to [\d,]+ MiB"):
        left(tiny_bert, 1000, repairs=False)
    enough = int(re.search(r"process to ([\d,]+) MiB", str(refusal.value))[1].replace(",", ""))
    assert left(tiny_bert, (enough + 20) << 20) > 0


def test_a_repair_reads_as_many_texts_as_fit(tiny_bert):
    batches = many_texts()
    with pytest.raises(InputError, match=f"the repair of {LEAST} texts") as refusal:
        allowance(tiny_bert, batches, 1000, Keep(0.5), structures=None, repairs=True)
    enough = (int(re.search(r"process to ([\d,]+) MiB", str(refusal.value))[1].replace(",", "")) + 40) << 20
    found = []
    for more in (0, 40 << 20):
        with pytest.warns(UserWarning, match=r"the repair reads [\d,]+ of the 4,096 texts: all would take the process"):
            allowed = allowance(tiny_bert, batches, enough + more, Keep(0.5), structures=None, repairs=True)
        read = allowed.for_repair(batches)
        assert LEAST <= allowed.texts < 4096
        assert allowed.texts - 64 < 64 * len(read) <= allowed.texts
        assert len({int(batch["input_ids"][0, 0]) for batch in read}) == len(read)
        found.append(allowed.texts)
    assert 1.5 * found[0] < found[1]


def test_of_long_texts_fewer_do(tiny_bert, monkeypatch):
    monkeypatch.setattr(module, "LONG", 16 * 64)
    with pytest.raises(InputError, match="the repair of 16 texts"):
        allowance(tiny_bert, many_texts(16, 16, 64), 1000, Keep(0.5), structures=None, repairs=True)


def test_a_layer_may_keep_more_than_the_average(tiny_bert, monkeypatch):
    """A budget divides the units unevenly, and the largest layer decides what the repair takes."""
    monkeypatch.setattr(module, "free_memory", lambda _: 60 << 20)
    texts = []
    for size in (Keep(0.4), Budget("flops", 0.4), Keep(0.8)):
        with pytest.warns(UserWarning, match="the repair reads"):
            texts.append(allowance(tiny_bert, many_texts(), None, size, structures=None, repairs=True).texts)
    assert texts[0] > texts[1] >= texts[2]


@pytest.mark.parametrize(("free", "least", "most"), [(0, LEAST, LEAST), (60 << 20, LEAST + 1, 4095)])
def test_without_a_limit_what_is_free_limits_the_repair(tiny_bert, monkeypatch, free, least, most):
    monkeypatch.setattr(module, "free_memory", lambda _: free)
    with pytest.warns(UserWarning, match=r"the repair reads [\d,]+ of the 4,096 texts: .*the machine has"):
        allowed = allowance(tiny_bert, many_texts(), None, Keep(0.5), structures=None, repairs=True)
    assert allowed.graph is None
    assert least <= allowed.texts <= most


def test_a_repair_of_some_texts_is_that_of_these_alone(tiny_bert):
    batches = many_texts(8, 4, 16)
    allowed = Allowance(texts=12)
    some = allowed.for_repair(batches)
    assert [int(batch["input_ids"][0, 0]) for batch in some] == [5, 7, 10]
    statistics = collect(tiny_bert, batches)
    small = apply_plan(tiny_bert, allocate(rank(statistics, criterion_named("information")), Keep(0.5)), statistics)
    expected = repair(small, tiny_bert, some, statistics=statistics, own=3)
    rounds = Rounds(
        tiny_bert,
        batches,
        None,
        criterion_named("information"),
        size_schedule(tiny_bert, batches, criterion_named("information"), Keep(0.5), parts=1),
        Settings(augmentations=0),
        0,
        Clock(None),
        None,
        allowed,
    )
    rounds.choose(0)
    rounds.cut()
    rounds.repair(last=True)
    for name, tensor in rounds.small.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name])
