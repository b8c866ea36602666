"""Smaller heads or fewer heads: does cutting inside of heads pay at equal FLOPs? A prototype on the validation split.

Attention's FLOPs go with heads x (directions in Q/K + directions in V/O), at every length. Every head of the layer
keeps as many, so that shapes stay dense. Directions, not coordinates: between V and O, and between Q and K, a basis is
free, so the best subspace costs no more than the best coordinates, and loses no more.

- V/O: in the basis where the head's values have variance one and what is read of them is uncorrelated, directions go in
  the order of the same elimination as neurons, and the output projection takes over what they said.
- Q/K: the scores q.k of a head are a bilinear form of the tokens; its best approximation of lower rank over pairs of
  tokens comes from a singular value decomposition. Keys are centred: what all keys share is lost in the softmax.

Lower ranks are written into matrices of the old shapes: this measures what is lost; nothing is smaller yet.
Neurons stay. KL after compensation, before any repair. Run: python -m experiments.head_size [--seeds 3]
"""

import argparse
import copy
import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from transformers import PreTrainedModel

from experiments.cells import cell, console
from experiments.movie_reviews import Batches, calibration, dense_model, labelled
from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Keep
from infoprune.ranking.criteria import ChannelInformation, demand_metric
from infoprune.ranking.eliminate import compensate, eliminate
from infoprune.ranking.rank import rank
from infoprune.statistics.calibration import model_inputs, real_tokens
from infoprune.statistics.collect import collect
from infoprune.statistics.moments import Moments
from infoprune.statistics.statistics import SiteStatistics, Statistics
from infoprune.structure.sites import find_sites
from infoprune.surgery import prune
from infoprune.tasks.evaluate import Evaluation, evaluate, mean_kl

RESULTS = Path(__file__).parent / "results" / "head_size.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "head-size.md"
SIZE = 32
# (heads, directions in Q/K, directions in V/O): the first of each group leaves the heads whole
GROUPS = {
    "1/2": ((6, 32, 32), (8, 32, 16), (8, 16, 32), (8, 24, 24), (12, 16, 16)),
    "1/4": ((3, 32, 32), (4, 32, 16), (4, 16, 32), (4, 24, 24), (6, 16, 16), (12, 8, 8)),
}


def main() -> None:
    """Computes what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="calibration draws")
    options = parser.parse_args()
    model, tokenizer = dense_model()
    questions = labelled(tokenizer, model, "validation")
    dense = evaluate(model, questions)
    for seed in range(options.seeds):
        texts = calibration(tokenizer, seed)
        whole = cache(partial(collect, model, texts, sites=find_sites(model, ["heads"]), seed=seed))
        with_heads = cache(partial(fewer_heads, model, texts, whole, seed))
        for group, shapes in GROUPS.items():
            for shape in shapes:
                key = {"attention": group, "shape": list(shape), "seed": seed}
                cell(RESULTS, key, partial(measure, with_heads, shape, questions, dense))
    write_page([json.loads(row) for row in RESULTS.read_text(encoding="utf-8").splitlines()])
    console.print(f"wrote {PAGE.name}")


def fewer_heads(
    model: PreTrainedModel, texts: Batches, whole: Callable[[], Statistics], seed: int, heads: int
) -> tuple[PreTrainedModel, Statistics, dict[str, Moments]]:
    """A model with so many heads in every layer, its statistics, and the moments of what its attentions are given."""
    small, statistics = model, whole()
    if heads < find_sites(model, ["heads"])[0].units:
        plan = allocate(rank(statistics, ChannelInformation(), seed=seed), Keep(heads / 12))
        small = prune(model, plan, statistics)
        statistics = collect(small, texts, sites=find_sites(small, ["heads"]), seed=seed)
    return small, statistics, inputs_of(small, texts)


def inputs_of(model: PreTrainedModel, texts: Batches) -> dict[str, Moments]:
    """Moments of the tokens that each query projection is given, by its path."""
    paths = [site.producers[0].module for site in find_sites(model, ["heads"])]
    moments = {path: Moments.empty(model.config.hidden_size, torch.device("cpu")) for path in paths}
    masks: list[Tensor] = []

    def note(path: str, x: Tensor) -> None:
        moments[path].update(x[masks[-1]])

    handles = [
        model.get_submodule(path).register_forward_pre_hook(lambda _, given, path=path: note(path, given[0]))
        for path in paths
    ]
    with torch.inference_mode():
        for batch in texts:
            masks.append(real_tokens(batch))
            model(**model_inputs(batch, torch.device("cpu")))
    for handle in handles:
        handle.remove()
    return moments


def measure(
    with_heads: Callable[[int], tuple], shape: tuple[int, int, int], questions: Batches, dense: Evaluation
) -> dict:
    """One cell: heads cut, then every head made smaller."""
    heads, scores, values = shape
    small, statistics, moments = with_heads(heads)
    small = copy.deepcopy(small)
    for site in find_sites(small, ["heads"]):
        if values < SIZE:
            fewer_values(small, statistics.sites[site.name], values)
        if scores < SIZE:
            query, key, _ = (small.get_submodule(rows.module) for rows in site.producers)
            fewer_scores(query, key, moments[site.producers[0].module], scores)
    answers = evaluate(small, questions)
    return {"kl": mean_kl(dense.logits, answers.logits), "accuracy": answers.metrics["accuracy"]}


def fewer_values(model: PreTrainedModel, statistics: SiteStatistics, keep: int) -> None:
    """The output projection of a layer reads so many directions of every head only."""
    covariance, reader = statistics.covariance, statistics.reader
    gram = reader.T @ demand_metric(statistics.demand, 0.1) @ reader
    heads = len(covariance) // SIZE
    basis = torch.zeros_like(covariance)  # x = basis z
    for head in range(heads):
        own = slice(head * SIZE, (head + 1) * SIZE)
        root = torch.linalg.cholesky(covariance[own, own])
        basis[own, own] = root @ torch.linalg.eigh(root.T @ gram[own, own] @ root).eigenvectors
    inverse = torch.linalg.inv(basis)
    turned = inverse @ covariance @ inverse.T
    order = eliminate((turned + turned.T) / 2, basis.T @ gram @ basis).order
    kept = torch.cat([order[order // SIZE == head][-keep:] for head in range(heads)]).sort().values
    weight = compensate((turned + turned.T) / 2, reader @ basis, kept) @ inverse[kept]
    module = model.get_submodule(statistics.site.reader)
    with torch.no_grad():
        module.bias.add_(((reader - weight) @ statistics.moments.mean).float())
        module.weight.copy_(weight)


def fewer_scores(query: torch.nn.Linear, key: torch.nn.Linear, tokens: Moments, keep: int) -> None:
    """The scores of every head have so low a rank."""
    covariance = tokens.covariance
    second = torch.zeros(len(covariance) + 1, len(covariance) + 1, dtype=torch.float64)  # of a token and a constant one
    second[:-1, :-1] = covariance + torch.outer(tokens.mean, tokens.mean)
    second[-1, :-1] = second[:-1, -1] = tokens.mean
    second[-1, -1] = 1
    q = torch.cat([query.weight, query.bias[:, None]], 1).detach().double()
    k = key.weight.detach().double()
    with torch.no_grad():
        for head in range(len(q) // SIZE):
            own = slice(head * SIZE, (head + 1) * SIZE)
            # q.k over pairs of tokens: with roots of both second moments the error is that of a product of two matrices
            left = torch.linalg.cholesky(q[own] @ second @ q[own].T)
            right = torch.linalg.cholesky(k[own] @ covariance @ k[own].T)
            u, _, v = torch.linalg.svd(left.T @ right)
            # projections of q and of k onto what the leading pairs of directions hold
            first = torch.linalg.inv(left).T @ u[:, :keep] @ u[:, :keep].T @ left.T
            other = torch.linalg.inv(right).T @ v[:keep].T @ v[:keep] @ right.T
            query.weight[own] = (first.T @ q[own, :-1]).float()
            query.bias[own] = (first.T @ q[own, -1]).float()
            key.weight[own] = (other.T @ k[own]).float()
            key.bias[own] = (other.T @ key.bias[own].double()).float()


def write_page(rows: list[dict]) -> None:
    """docs/head-size.md from the cells."""
    lines = [
        "# Fewer heads, or smaller ones?",
        "",
        "Attention cut to a share of its FLOPs, once by whole heads and once by directions inside of heads: those in",
        "which queries meet keys (Q/K), and those that values bring to the output (V/O). Neurons stay. MiniLM on movie",
        "reviews, validation split, 1,024 calibration texts, compensated, no repair; mean over calibration draws.",
        "",
        "Made by `python -m experiments.head_size`, which also says how directions are chosen.",
        "",
        "| attention's FLOPs | heads of 12 | Q/K of 32 | V/O of 32 | draws | KL (nats) | lowest to highest "
        "| of whole heads | accuracy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for group, shapes in GROUPS.items():
        cells = {shape: [r for r in rows if r["attention"] == group and tuple(r["shape"]) == shape] for shape in shapes}
        whole = {row["seed"]: row["kl"] for row in cells[shapes[0]]}
        for shape, found in cells.items():
            if found:
                kls = [row["kl"] for row in found]
                ratio = fmean(kls) / fmean(whole[row["seed"]] for row in found)
                sizes = " | ".join(str(number) for number in shape)
                lines.append(
                    f"| {group} | {sizes} | {len(found)} | {fmean(kls):.4f} | {min(kls):.4f} to {max(kls):.4f} "
                    f"| {ratio:.2f} | {fmean(row['accuracy'] for row in found):.2%} |"
                )
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
