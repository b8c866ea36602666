"""Rounding: the numbers of neurons that a machine's kernels like."""

from collections.abc import Mapping
from statistics import fmean

import torch
from torch import nn

from infoprune.measuring.machine import remembered
from infoprune.measuring.measure import time_rounds
from infoprune.structure.site import Site

MULTIPLES = (8, 16, 32, 64)
"""Finer than 8 gains nothing: a layer has hundreds of neurons, and vector registers hold 8 numbers or more."""

FINEST = MULTIPLES[0]
TOLERANCE = 1.03
WIDTH, TOKENS, NEURONS, REPEATS = 256, 128, 512, 40


def preferred_multiple(device: torch.device, dtype: torch.dtype) -> int:
    """The smallest number such that its multiples are good sizes: a neuron costs at most 3 % more than at the best.

    Measured on the device, once, and remembered: the time of a projection up and down, per neuron, at odd
    multiples of 8, 16, 32 and 64.

    Example:
        >>> preferred_multiple(torch.device("cpu"), torch.float32)
        8
    """
    (best,) = remembered("rounding", {"dtype": str(dtype)}, device, lambda: [float(_measured(device, dtype))])
    return int(best)


def _measured(device: torch.device, dtype: torch.dtype) -> int:
    probes = {multiple: (NEURONS - multiple, NEURONS + multiple) for multiple in MULTIPLES}
    networks = [_network(size).to(device, dtype) for pair in probes.values() for size in pair]
    batch = {"input": torch.zeros(TOKENS, WIDTH, dtype=dtype, device=device)}
    # the fastest of many short runs: whatever else runs on the machine only ever adds to a time
    times = iter([min(taken) for taken in time_rounds(networks, batch, repeats=REPEATS)])
    per_neuron = {multiple: fmean(next(times) / size for size in pair) for multiple, pair in probes.items()}
    return least_good(per_neuron)


def least_good(times: Mapping[int, float]) -> int:
    """The least multiple whose time, by multiple, is nearly the best."""
    return min(multiple for multiple, time in times.items() if time <= TOLERANCE * min(times.values()))


def _network(size: int) -> nn.Module:
    with torch.random.fork_rng():
        return nn.Sequential(nn.Linear(WIDTH, size), nn.GELU(), nn.Linear(size, WIDTH))


def sizes(site: Site, multiple: int, *, depth: bool = False) -> tuple[int, ...]:
    """The numbers of units that a site may keep, ascending: heads whole, neurons in multiples; and all of them.

    Args:
        site: with units.
        multiple: of which numbers of neurons have to be.
        depth: none at all is a number too, where the family can do without.
    """
    step = multiple if site.size == 1 else 1
    none = (0,) if depth and site.least == 0 else ()
    return (*none, *range(min(step, site.units), site.units, step), site.units)
