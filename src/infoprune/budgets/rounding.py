"""Rounding: the numbers of neurons that are fast on a machine."""

from collections.abc import Mapping
from statistics import fmean

import torch
from torch import nn

from infoprune.measuring.machine import remembered
from infoprune.measuring.measure import time_rounds
from infoprune.structure.site import Site

MULTIPLES = (8, 16, 32, 64)
"""Multiples to compare. Finer ones gain nothing: a layer has hundreds of neurons, and vector registers hold 8 or more
numbers."""

FINEST = MULTIPLES[0]
TOLERANCE = 1.03
"""Largest time per neuron, relative to the best multiple's."""
HIDDEN_SIZE, TOKENS, NEURONS, REPEATS = 256, 128, 512, 40


def preferred_multiple(device: torch.device, dtype: torch.dtype) -> int:
    """Return the smallest number whose multiples are fast sizes: a neuron takes at most 3 % more time than at the best.

    The time per neuron of a projection up and down, at odd multiples of 8, 16, 32 and 64, is measured once on the
    device and stored on disk.

    Examples:
        >>> preferred_multiple(torch.device("cpu"), torch.float32)
        8
    """
    (best,) = remembered("rounding", {"dtype": str(dtype)}, device, lambda: [float(_measured(device, dtype))])
    return int(best)


def _measured(device: torch.device, dtype: torch.dtype) -> int:
    probes = {multiple: (NEURONS - multiple, NEURONS + multiple) for multiple in MULTIPLES}
    networks = [_network(size).to(device, dtype) for pair in probes.values() for size in pair]
    batch = {"input": torch.zeros(TOKENS, HIDDEN_SIZE, dtype=dtype, device=device)}
    # the fastest of many short runs: other work on the machine only ever adds time
    times = iter([min(taken) for taken in time_rounds(networks, batch, repeats=REPEATS)])
    per_neuron = {multiple: fmean(next(times) / size for size in pair) for multiple, pair in probes.items()}
    return least_good(per_neuron)


def least_good(times: Mapping[int, float]) -> int:
    """Return the smallest multiple whose time is within 3 % of the best.

    Args:
        times: Time per neuron by multiple.
    """
    return min(multiple for multiple, time in times.items() if time <= TOLERANCE * min(times.values()))


def _network(size: int) -> nn.Module:
    with torch.random.fork_rng():
        return nn.Sequential(nn.Linear(HIDDEN_SIZE, size), nn.GELU(), nn.Linear(size, HIDDEN_SIZE))


def sizes(site: Site, multiple: int, *, depth: bool = False) -> tuple[int, ...]:
    """Return the numbers of units that a site may keep, ascending: any of heads and experts, multiples of neurons, all.

    Args:
        site: The site, with its present number of units.
        multiple: Factor of all numbers of neurons.
        depth: Permit 0 where the family supports layers without such a block.
    """
    step = multiple if site.size == 1 and not site.whole_experts else 1
    none = (0,) if depth and site.least == 0 else ()
    return (*none, *range(min(step, site.units), site.units, step), site.units)
