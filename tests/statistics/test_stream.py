"""What is collected where the residual stream is read, against gradients taken by hand."""

import torch
from tiny import captured, make_batches
from zoo import build

from infoprune.statistics.collect import collect
from infoprune.structure.sites import find_sites


def by_hand(model, batch, point):
    """(E[g g^T], rows read): with two classes, p (1 - p) times the gradient of the difference of the logits."""
    outputs, handles = [], []
    for path in point.readers:
        keep = lambda _module, _x, y: outputs.append(y if y.requires_grad else y.requires_grad_()) or outputs[-1]  # noqa: E731
        handles.append(model.get_submodule(path).register_forward_hook(keep))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with captured(model, point.readers[0]) as calls:
        logits = model(**batch).logits
    for handle in handles:
        handle.remove()
    p = logits.detach().softmax(-1)[:, 0]
    objective = ((p * (1 - p)).sqrt() * (logits[:, 0] - logits[:, 1])).sum()
    gradients = torch.autograd.grad(objective, outputs)
    weights = [model.get_submodule(path).weight for path in point.readers]
    backpropagate = sum(g @ w for g, w in zip(gradients, weights, strict=True)).flatten(0, -2)
    return backpropagate.T @ backpropagate / len(logits), calls[0][0]


def test_demand_and_moments_of_every_place():
    model = build("bert", num_labels=2)
    (hidden_size,) = find_sites(model, ["hidden-size"])
    batches = make_batches(((9, 9, 9),))
    statistics = collect(model, batches, sites=[hidden_size])
    names = [
        "layers.0.hidden-size.heads",
        "layers.0.hidden-size.ffn",
        "layers.1.hidden-size.heads",
        "layers.1.hidden-size.ffn",
    ]
    assert list(statistics.sites) == [*names, "layers.top.hidden-size"]
    assert [len(point.readers) for point in hidden_size.measured] == [3, 1, 3, 1, 1]
    for point in hidden_size.measured:
        found = statistics.sites[point.name]
        fisher, read = by_hand(model, batches[0], point)
        torch.testing.assert_close(found.fisher, fisher)
        read = read.reshape(-1, 48)
        torch.testing.assert_close(found.tokens.covariance, torch.cov(read.T, correction=0))
        assert torch.equal(found.reader, torch.eye(48, dtype=torch.float64))
    assert statistics.tokens == 27


def test_padding_counts_at_no_place():
    model = build("bert", num_labels=2)
    (hidden_size,) = find_sites(model, ["hidden-size"])
    padded, plain = make_batches(((9, 4),)), [make_batches(((9,), (4,)))[i] for i in range(2)]
    plain[0] = {name: value[:1] for name, value in padded[0].items()}
    plain[1] = {name: value[1:, :4] for name, value in padded[0].items()}
    one, two = (collect(model, batches, sites=[hidden_size]) for batches in (padded, plain))
    for name, site in one.sites.items():
        torch.testing.assert_close(site.fisher, two.sites[name].fisher)
        torch.testing.assert_close(site.covariance, two.sites[name].covariance)
