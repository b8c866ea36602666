"""Taps: what passes the readers of a model, with gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from infoprune.structure.site import Site


@dataclass(frozen=True)
class Passed:
    """Input of a reader, and its output with gradient."""

    x: Tensor
    y: Tensor


class Tap:
    """Catches what passes a reader, once for every time that its layer is applied."""

    def __init__(self) -> None:
        self.passed: list[Passed] = []

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Notes what passes; the output comes back with gradient."""
        y = output if output.requires_grad else output.requires_grad_()
        self.passed.append(Passed(inputs[0].detach(), y))
        return y


@contextmanager
def tapped(model: nn.Module, sites: Iterable[Site]) -> Iterator[dict[str, list[Tap]]]:
    """Taps at every site's reader, by site name, for a while; where the residual stream is read, at every reader."""
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
    """Paths of what takes gradients to the vectors that a site's readers are given."""
    return site.readers if site.streams else (site.reader,)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients for weights, for a while."""
    modes = [(module, module.training) for module in model.modules()]
    asks = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval().requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, wanted in asks:
            parameter.requires_grad_(wanted)
