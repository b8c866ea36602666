"""Inputs for the tiny models, and slow, plain ways to look inside them."""

from contextlib import contextmanager

import torch

from infoprune.structure.sites import find_sites
from infoprune.surgery import unit_coordinates

PAD, CLS = 0, 2

torch.set_num_threads(1)  # nothing here is large enough for two


def make_batches(lengths=((5, 9, 3, 6), (7, 4, 7)), seed=0):
    """Batches of random tokens, one for each tuple of lengths, padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for rows in lengths:
        ids = torch.full((len(rows), max(rows)), PAD)
        for row, length in zip(ids, rows, strict=True):
            row[:length] = torch.randint(5, 100, (length,), generator=generator)
            row[:1] = CLS
        mask = (torch.arange(max(rows)) < torch.tensor(rows)[:, None]).long()
        batches.append({"input_ids": ids, "attention_mask": mask})
    return batches


def split(batches):
    """The same inputs one at a time and without padding."""
    singles = []
    for batch in batches:
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            singles.append({"input_ids": ids[mask.bool()][None], "attention_mask": mask[mask.bool()][None]})
    return singles


def logits_of(model, batches):
    with torch.no_grad():
        return torch.cat([model(**batch).logits for batch in batches])


def divergence(dense, small):
    """Mean KL(dense || small) in nats of two tables of logits."""
    p, q = dense.double().log_softmax(-1), small.double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def site_named(model, name):
    return next(site for site in find_sites(model) if site.name == name)


def mask_units(model, plan):
    """Does to a dense model in place what a cut should do: what the dropped units say is read as zero."""
    for site in find_sites(model):
        dropped = sorted(set(range(site.units)) - set(plan.kept.get(site.name, range(site.units))))
        coordinates = unit_coordinates(torch.tensor(dropped, dtype=torch.long), site.size)
        for path in site.readers:
            model.get_submodule(path).weight.data[:, coordinates] = 0
    return model


@contextmanager
def captured(model, path):
    """Inputs and outputs of a module, in order of its calls."""
    calls = []
    handle = model.get_submodule(path).register_forward_hook(lambda _, x, y: calls.append((x[0].detach(), y.detach())))
    try:
        yield calls
    finally:
        handle.remove()


@contextmanager
def shifted(model, path, shift):
    """Adds a shift to the output of a module."""
    handle = model.get_submodule(path).register_forward_hook(lambda _module, _x, y: y + shift)
    try:
        yield
    finally:
        handle.remove()


def spread(n, seed=0, samples=None, decay=1.0):
    """A covariance matrix of correlated variables of unlike variances."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(samples or 3 * n, n, generator=generator, dtype=torch.float64)
    mix = torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5
    scale = torch.linspace(0, -decay, n, dtype=torch.float64).exp()
    rows = rows @ (torch.eye(n, dtype=torch.float64) + mix) * scale
    return rows.T @ rows / len(rows)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
