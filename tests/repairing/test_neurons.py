"""What writes neurons, re-fitted to what their reader has to say: against dense linear algebra, and in every family."""

import sys
from dataclasses import replace

import pytest
import torch
from test_refit_steps import REPAIRED, halved
from tiny import captured, divergence, logits_of
from torch.testing import assert_close
from zoo import build, cast, inputs, long_inputs

from infoprune.families import FAMILIES
from infoprune.repairing import gauss_newton as steps
from infoprune.repairing import neurons
from infoprune.repairing.activation import activation_between
from infoprune.repairing.gauss_newton import Tokens, gauss_newton
from infoprune.repairing.neurons import parts_of
from infoprune.repairing.repair import repair
from infoprune.repairing.ridge import fit_ridge, sums_by_part
from infoprune.statistics.collect import collect, collect_importance
from infoprune.statistics.metric import TAU, metric_root, reader_metric
from infoprune.structure.linear import LinearMap, linear
from infoprune.structure.sites import find_sites

WITH_NEURONS = [name for name in REPAIRED if "ffn" in FAMILIES[name].structures]

ONE = ("gelu", lambda each: torch.nn.functional.gelu(each[0]))
TWO = ("gated", lambda each: torch.nn.functional.silu(each[0]) * each[1])


def sampled(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ffn_sites(model):
    return [site for site in find_sites(model) if site.structure == "ffn"]


@pytest.mark.parametrize(("activation", "parts"), [(ONE[1], 1), (TWO[1], 2)], ids=[ONE[0], TWO[0]])
def test_a_step_solves_the_damped_normal_equations(monkeypatch, activation, parts):
    monkeypatch.setattr(steps, "ITERATIONS", 300)
    m, n, o, damping = 4, 3, 5, 0.2
    weights, anchor = sampled(parts, m, n + 1), sampled(parts, m, n + 1, seed=1)
    reader = sampled(o, m, seed=2), sampled(o, seed=3)
    x = torch.cat([sampled(40, n, seed=4), torch.ones(40, 1, dtype=torch.float64)], 1)
    target, share = sampled(40, o, seed=5), sampled(40, seed=6).square()
    chunks = [Tokens(x[rows], target[rows], share[rows]) for rows in (slice(0, 25), slice(25, 40))]
    found = gauss_newton(weights, anchor, reader, activation, chunks, damping, n)

    def error(flat):
        said = activation([x @ part.T for part in flat.reshape(weights.shape)]) @ reader[0].T + reader[1]
        return ((target - said) * (share / share.sum()).sqrt()[:, None]).flatten()

    flat = weights.flatten()
    jacobian = torch.func.jacrev(error)(flat)
    curvature = jacobian.T @ jacobian
    slopes = torch.func.jacrev(lambda a: activation(list(a)).sum(0))(torch.stack([x @ part.T for part in weights]))
    own = torch.stack([slopes[unit, :, :, unit] for unit in range(m)], 1)  # (parts, m, tokens)
    strength = (reader[0].square().sum(0) * (own.square() * share).sum(-1) / share.sum()).mean()
    level = damping * strength * (x[:, :n].square() * share[:, None]).sum(0).mean() / share.sum()
    pull = -jacobian.T @ error(flat) + level * (anchor - weights).flatten()
    wanted = flat + torch.linalg.solve(curvature + level * torch.eye(len(flat), dtype=torch.float64), pull)
    assert_close(found.flatten(), wanted, rtol=1e-8, atol=1e-10)


def test_the_curvature_may_be_that_of_some_tokens():
    """Of tokens that come in pairs alike, every other one tells as much as all."""
    weights, reader = sampled(1, 4, 3), (sampled(5, 4, seed=2), sampled(5, seed=3))
    x, target, share = (sampled(30, *shape, seed=4).repeat_interleave(2, 0) for shape in ((3,), (5,), ()))
    chunks = [Tokens(x[rows], target[rows], share.square()[rows]) for rows in (slice(0, 32), slice(32, 60))]
    found = [gauss_newton(weights, weights, reader, ONE[1], chunks, 0.1, 3, stride) for stride in (1, 2)]
    assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)
    assert not torch.allclose(found[0], weights)


@pytest.mark.parametrize("name", WITH_NEURONS)
def test_every_family_is_known_by_what_it_does(name):
    """With what is found between the parts and the reader, the neurons of a real pass come out."""
    model, batch = build(name), cast(inputs(name), torch.float64)[0]
    for site in ffn_sites(model):
        with captured(model, site.producers[0].module) as read, captured(model, site.reader) as given, torch.no_grad():
            model(**batch)
        x, hidden = (calls[0][0].flatten(0, -2) for calls in (read, given))
        parts = parts_of(model, site.producers, site.units)
        writes = []
        for part in parts:
            weight = part.read()
            fed = x if weight.shape[1] == x.shape[1] else torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
            writes.append(fed @ weight.T)
        activation = activation_between(model.config, writes, hidden)
        assert activation is not None
        assert_close(activation(writes), hidden, rtol=1e-7, atol=1e-9)  # BLOOM has a constant of eight digits


def test_an_unknown_activation_is_not_guessed():
    model = build("bert")
    writes = [sampled(50, 6)]
    assert activation_between(model.config, writes, writes[0].sin()) is None
    assert activation_between(model.config, writes, torch.nn.functional.gelu(writes[0])) is not None


def test_parts_are_read_and_written_where_they_are():
    for name in ("gpt2", "phi3", "llama", "modernbert"):  # transposed, fused, gated, fused and gated
        model = build(name)
        site = ffn_sites(model)[0]
        before = {path: tensor.clone() for path, tensor in model.state_dict().items()}
        for part in parts_of(model, site.producers, site.units):
            part.write(part.read() + 1)
        own = {producer.module for producer in site.producers}
        for path, tensor in model.state_dict().items():
            moved = path.rpartition(".")[0] in own
            assert_close(tensor, before[path] + 1 if moved else before[path], rtol=0, atol=1e-12)


def missed(repaired, dense, site, batches):
    """Sum of squares, over all tokens, of what the reader and the residual of the lowest site say too little."""
    return float(said_wrongly(repaired, dense, site, batches).sum())


def said_wrongly(repaired, dense, site, batches):
    """The same for every output."""
    step = sys.modules["infoprune.repairing.refit_steps"].refit_steps(repaired, dense)[site.reader]
    total = torch.zeros(())
    for batch in batches:
        streams = []
        for model in (repaired, dense):
            above = step.stream or site.reader
            with captured(model, site.reader) as said, captured(model, above) as before, torch.no_grad():
                model(**batch)
            y = said[0][1].flatten(0, -2)
            streams.append(y + before[0][0].flatten(0, -2) if step.stream else y)
        total = total + (streams[0] - streams[1]).square().sum(0)
    return total


@pytest.mark.parametrize("name", WITH_NEURONS)
def test_the_reader_can_say_more(monkeypatch, name):
    """At the lowest network, where all else is equal, the error falls; the readers alone have done what they can."""
    monkeypatch.setattr(neurons, "_gains", lambda *_: True)
    dense = build(name)
    small, batches = halved(dense, ("ffn",)), long_inputs(name)
    site = ffn_sites(small)[0]
    statistics = replace(collect_importance(dense, batches), fisher={})  # all outputs count alike
    plain, adapted = (
        repair(small, dense, batches, statistics=statistics, neurons=each, smoothing=float("inf"))
        for each in (False, True)
    )
    paths = [producer.module for producer in site.producers]
    assert any(not torch.equal(linear(plain, path).weight, linear(adapted, path).weight) for path in paths)
    assert missed(adapted, dense, site, batches) < missed(plain, dense, site, batches)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_in_less_precision_as_well(dtype):
    dense = build("bert", dtype)
    small, batches = halved(dense, ("ffn",)), long_inputs("bert")
    plain, adapted = (repair(small, dense, batches, neurons=each) for each in (False, True))
    assert adapted.dtype == dtype
    answers = [logits_of(model, batches) for model in (dense, plain, adapted)]
    assert divergence(answers[0], answers[2]) < 0.75 * divergence(answers[0], answers[1])


def test_it_is_left_out_where_tokens_are_few(monkeypatch):
    dense = build("bert")
    small, batches = halved(dense), long_inputs("bert")
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    inputs_read = dense.config.hidden_size
    outcomes = {each: repair(small, dense, batches, neurons=each).state_dict() for each in (False, True)}
    for per_input, same in ((tokens // inputs_read + 1, False), (tokens // inputs_read, True)):
        monkeypatch.setattr(neurons, "PER_INPUT", per_input)
        found = repair(small, dense, batches).state_dict()
        assert all(torch.equal(found[path], tensor) for path, tensor in outcomes[same].items())
    assert any(not torch.equal(outcomes[False][path], tensor) for path, tensor in outcomes[True].items())


def test_the_metric_says_which_outputs_count():
    """Where the model hardly depends on most outputs of a reader, the neurons serve the others."""
    dense = build("bert")
    small, batches = halved(dense, ("ffn",)), long_inputs("bert")
    site = ffn_sites(small)[0]
    statistics = collect_importance(dense, batches)
    few = torch.full((dense.config.hidden_size,), 1e-6, dtype=torch.float64)
    few[:4] = 1.0
    errors = []
    for fisher in (torch.eye(len(few), dtype=torch.float64), few.diag()):
        alone = replace(statistics, fisher={site.name: fisher})
        repaired = repair(small, dense, batches, statistics=alone, neurons=True, sites=[site.name])
        errors.append(said_wrongly(repaired, dense, site, batches)[:4].sum())
    assert errors[1] < 0.9 * errors[0]


def test_coordinates_of_the_metric_change_no_regression():
    """A reader is fitted output by output, so in turned coordinates the same ridge gives the same map."""
    metric = sampled(5, 8) @ sampled(5, 8).T
    root, inverse = metric_root(metric)
    assert_close(root @ root, metric / metric.diagonal().mean(), rtol=1e-9, atol=1e-9)
    assert_close(root @ inverse, torch.eye(5, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    reader = LinearMap(torch.nn.Linear(3, 5, dtype=torch.float64))
    x, target, weights = sampled(2, 20, 3), sampled(2, 20, 5, seed=1), sampled(2, 20, seed=2).square()
    fits = [
        fit_ridge(sums_by_part([(x, wanted, weights)], [0], each.weight), each.weight, ridge=0.1)
        for wanted, each in ((target, reader), (target @ root.T, reader.followed_by(root)))
    ]
    for plain, turned in zip(*fits, strict=True):
        assert_close(root @ plain, turned, rtol=1e-9, atol=1e-9)


def test_a_metric_follows_what_the_reader_adds():
    """A change x of the scaled outputs that are left costs what the change of the output itself costs."""
    fisher, kept, scale = (
        sampled(5, 8) @ sampled(5, 8).T,
        torch.tensor([0, 2, 3]),
        torch.tensor([2.0, 0.5, 4.0]).double(),
    )
    found, change = reader_metric(fisher, kept, scale), sampled(3, seed=7)
    inner = fisher[kept][:, kept]
    whole = torch.zeros(5, dtype=torch.float64)
    whole[kept] = change / scale
    ridge = TAU * (inner.diagonal() / scale.square()).mean() * change.square().sum()
    assert_close(change @ found @ change, whole @ fisher @ whole + ridge, rtol=1e-9, atol=1e-12)
    silent = reader_metric(fisher, None, torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0]).double())
    assert float(silent[1, 0]) == 0.0


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_importance_comes_with_the_metric_of_neurons(name):
    """A pass without moments gives the Fisher information that a whole one gives, at the readers of neurons alone."""
    model, batches = build(name), inputs(name)
    whole, alone = collect(model, batches), collect_importance(model, batches)
    names = {site.name for site in ffn_sites(model)}
    assert set(alone.fisher) == set(whole.for_repair().fisher) == names
    assert whole.fisher == {}
    for each in names:
        assert_close(alone.fisher_at(each).double(), whole.fisher_at(each), rtol=1e-6, atol=1e-9)
        assert torch.equal(whole.for_repair().fisher_at(each), whole.sites[each].fisher.float())


def test_of_one_text_none_can_be_held_out():
    dense = build("bert")
    small, batch = halved(dense), {name: each[:1] for name, each in inputs("bert")[0].items()}
    plain, asked = (repair(small, dense, [batch], neurons=each).state_dict() for each in (False, True))
    assert all(torch.equal(plain[path], asked[path]) for path in plain)


def test_without_producers_it_has_nothing_to_work_on():
    dense = build("bert")
    small, batches = halved(dense), long_inputs("bert")
    plain = repair(small, dense, batches, producers=False, neurons=False).state_dict()
    asked = repair(small, dense, batches, producers=False, neurons=True).state_dict()
    assert all(torch.equal(plain[path], asked[path]) for path in plain)


def test_neurons_that_do_no_better_on_other_texts_stay(monkeypatch):
    """What the first fold would say worse is not taken over, however well the others say it."""
    dense = build("bert")
    small, batches = halved(dense), long_inputs("bert")
    monkeypatch.setattr(neurons, "gauss_newton", lambda weights, *_: torch.zeros_like(weights))
    plain = repair(small, dense, batches, neurons=False).state_dict()
    asked = repair(small, dense, batches, neurons=True).state_dict()
    assert all(torch.equal(plain[path], asked[path]) for path in plain)
