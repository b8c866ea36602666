"""Taps: forward hooks that record the inputs and outputs of a model's readers, with gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from infoprune.structure.site import Site


@dataclass(frozen=True)
class ReaderCall:
    """Input of one application of a reader, and its output with gradient.

    Args:
        x: The input.
        y: The output.
        routed: Of a module of experts the numbers of the experts that every token reads, and their weights, both
            (tokens, chosen); else None.
    """

    x: Tensor
    y: Tensor
    routed: tuple[Tensor, Tensor] | None = None


class Tap:
    """Forward hook that records every application of a reader."""

    def __init__(self) -> None:
        self.passed: list[ReaderCall] = []

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Record an application, and return its output with gradient."""
        lowest = not output.requires_grad
        routed = (inputs[1], inputs[2].detach()) if len(inputs) == 3 else None
        self.passed.append(ReaderCall(inputs[0].detach(), output.requires_grad_() if lowest else output, routed))
        return output.clone() if lowest else output  # Falcon adds to it in place, which a leaf does not allow


@contextmanager
def tapped(model: nn.Module, sites: Iterable[Site]) -> Iterator[dict[str, list[Tap]]]:
    """Register a tap at every site's reader within the block, by site name; of the residual stream at every reader."""
    paths = {site.name: readers_of(site) for site in sites}
    taps = {name: [Tap() for _ in each] for name, each in paths.items()}
    handles = [
        model.get_submodule(path).register_forward_hook(tap)
        for name, each in paths.items()
        for path, tap in zip(each, taps[name], strict=True)
    ]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


def readers_of(site: Site) -> tuple[str, ...]:
    """Return the paths of the readers that get a tap: the site's reader, or all readers of the residual stream."""
    return site.readers if site.streams else (site.reader,)
