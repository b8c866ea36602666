"""A limit of the process's memory: what it leaves for statistics, and what it refuses before the work."""

import re

import pytest
from tiny import make_batches

from infoprune.budgets.budget import Budget, Keep
from infoprune.errors import InputError
from infoprune.measuring.free_memory import memory_in_use
from infoprune.measuring.measure import device_of
from infoprune.pipeline.allowance import allowance

GIGABYTE = 10**9


def left(model, memory, size=Keep(0.5), *, repairs=True, structures=None):  # noqa: B008
    return allowance(model, make_batches(), memory, size, structures=structures, repairs=repairs)


def test_no_limit(tiny_bert):
    assert left(tiny_bert, None) is None


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
