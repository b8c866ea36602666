"""Plans and models for the tests of experts and of neurons inside them."""

import copy

import torch

from infoprune.budgets.budget import Counts
from infoprune.plan import Plan
from infoprune.structure.experts import expert_reader
from infoprune.structure.sites import find_sites

MODELS = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v2", "gpt_oss")
LAYOUTS = ("mixtral", "deepseek_v2", "gpt_oss")  # one of each layout and way to weigh
EXPERTS = 4


def sites_of(model):
    return find_sites(model, ["expert-neurons"])


def half(model, structure="expert-neurons"):
    return Counts({site.name: site.units // 2 for site in find_sites(model, [structure])})


def own_neurons(model, count, experts=range(EXPERTS), seed=0):
    """A plan that keeps other neurons in every expert."""
    generator = torch.Generator().manual_seed(seed)
    rows = {
        site.name: tuple(
            tuple(torch.randperm(site.units, generator=generator)[:count].sort().values.tolist()) for _ in experts
        )
        for site in sites_of(model)
    }
    units = {site.name: site.units for site in sites_of(model)}
    return Plan(model.config.model_type, units, dict.fromkeys(rows, tuple(range(count))), "random", 0, neurons=rows)


def with_experts(plan, model, kept):
    """The same plan, which also keeps some experts."""
    units = {site.name: site.units for site in find_sites(model, ["experts"])} | plan.units
    return Plan(plan.model_type, units, dict.fromkeys(units, kept) | plan.kept, "random", 0, neurons=plan.neurons)


def masked(model, plan):
    """What the dropped neurons say is read as zero."""
    model = copy.deepcopy(model)
    for site in sites_of(model):
        for expert, kept in enumerate(plan.neurons[site.name]):
            dropped = [unit for unit in range(site.units) if unit not in kept]
            expert_reader(model, site, expert)[:, dropped] = 0
    return model


def shuffled(model, seed=3):
    """The same function, with the neurons of every expert in another order; and these orders."""
    model, orders = copy.deepcopy(model), {}
    generator = torch.Generator().manual_seed(seed)
    for site in sites_of(model):
        for expert in range(EXPERTS):
            order = torch.randperm(site.units, generator=generator)
            orders[site.name, expert] = order
            for rows, axis in site.neurons.entries:
                entry = model.get_parameter(rows.module).data[expert]
                entry.copy_(entry.index_select(axis, rows.rows(order, site.units)))
    return model, orders


def plan_for_neurons(model, counts):
    units = {site.name: site.units for site in sites_of(model)}
    return Plan(model.config.model_type, units, {name: tuple(range(n)) for name, n in counts.items()}, "random", 0)
