"""Producers of neurons, re-fitted toward the dense model's neurons alone, or also to the output of their reader.

Validation splits. Run: python -m experiments.neurons [--tasks movie_reviews embedding verses] [--samples 512 2048]
    [--seeds 3]
(needs for the verses what experiments.verses needs)
"""

import argparse
import time
from collections.abc import Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedModel

from experiments import embedding, movie_reviews, topics
from experiments.cells import cell, cells, console
from infoprune.budgets.allocate import allocate
from infoprune.budgets.budget import Budget
from infoprune.budgets.costs import find_costs
from infoprune.budgets.measured import measured
from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData, read_texts
from infoprune.ranking.criteria import ChannelInformation
from infoprune.ranking.rank import rank
from infoprune.repairing.neurons import PER_INPUT
from infoprune.repairing.repair import repair
from infoprune.statistics.answer import embeds
from infoprune.statistics.calibration import Batch, with_targets
from infoprune.statistics.collect import collect
from infoprune.surgery import apply_plan
from infoprune.tasks.compare import compare

RESULTS = Path(__file__).parent / "results" / "neurons.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "research/neurons.md"
SAMPLES = {"movie_reviews": (256, 1024), "embedding": (64, 256), "verses": (512, 2048)}
TITLES = {
    "movie_reviews": "reviews, MiniLM, a quarter of the FLOPs",
    "embedding": "news, MiniLM embeddings, half of the FLOPs",
    "verses": "verses, Marian, half of the layers' parameters",
}


def main() -> None:
    """Compute the missing cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(SAMPLES), choices=list(SAMPLES))
    parser.add_argument("--samples", type=int, nargs="+", help="calibration texts")
    parser.add_argument("--seeds", type=int, default=3, help="number of calibration seeds")
    options = parser.parse_args()
    for task in options.tasks:
        for samples, seed in product(options.samples or SAMPLES[task], range(options.seeds)):
            bench = cache(partial(prepared, task, samples, seed))
            for neurons in (False, True):
                key = {"task": task, "samples": samples, "seed": seed, "neurons": neurons}
                cell(RESULTS, key, partial(measure, bench, neurons=neurons))
    write_page(cells(RESULTS))
    console.print(f"wrote {PAGE.name}")


def prepared(task: str, samples: int, seed: int) -> tuple:
    """Return what both cells share: dense and cut model, calibration and validation inputs, statistics."""
    of_task = {"movie_reviews": _reviews, "embedding": _embedding, "verses": _verses}[task]
    model, texts, eval_batches, budget = of_task(samples, seed)
    statistics = collect(model, texts, seed=seed)
    costs = find_costs(model, budget.quantity, texts, depth=budget.depth)
    rankings = measured(rank(statistics, ChannelInformation(), seed=seed), model, statistics, texts)
    plan = allocate(rankings, budget, costs)
    return model, apply_plan(model, plan, statistics), texts, eval_batches, statistics.for_repair()


def _reviews(samples: int, seed: int) -> tuple[PreTrainedModel, Sequence[Batch], Sequence[Batch], Budget]:
    model, tokenizer = movie_reviews.dense_model()
    texts = movie_reviews.calibration(tokenizer, seed, samples)
    return model, texts, movie_reviews.labelled(tokenizer, model, "validation"), Budget("flops", 0.25)


def _embedding(samples: int, seed: int) -> tuple[PreTrainedModel, Sequence[Batch], Sequence[Batch], Budget]:
    model, tokenizer = embedding.dense_model()
    texts = topics.TASK.calibration(tokenizer, seed, samples)
    held_out = make_batches(
        read_texts(topics.TASK.splits()["validation"]).texts, tokenizer, max_length=topics.TASK.max_length
    )
    return model, texts, held_out, Budget("flops", 0.5)


def _verses(samples: int, seed: int) -> tuple[PreTrainedModel, Sequence[Batch], Sequence[Batch], Budget]:
    from experiments.translation import SHARES, goal_of  # needs optional packages
    from experiments.verses import LONGEST, dense_model, verses

    model, words = dense_model()

    def batches(split: str, count: int | None) -> list[Batch]:
        texts = TextData(tuple(spanish for spanish, _ in verses()[split]), None, None, split)
        return with_targets(model, make_batches(texts, words, max_length=LONGEST, samples=count, seed=seed))

    budget = goal_of(model, list(SHARES)[-1])["budget"]
    return model, batches("train", samples), batches("validation", None), budget


def measure(bench: partial, *, neurons: bool) -> dict:
    """Compute one cell: repair, compare."""
    model, cut, texts, eval_batches, statistics = bench()
    start = time.perf_counter()
    repaired = repair(cut, model, texts, statistics=statistics, neurons=neurons)
    seconds = time.perf_counter() - start
    return {
        "tokens": statistics.tokens,
        "inputs": model.config.hidden_size + 1,
        "kl": _loss(model, repaired, eval_batches),
        "seconds": seconds,
    }


def _loss(model: PreTrainedModel, small: PreTrainedModel, eval_batches: Sequence[Batch]) -> float:
    """Return the KL; for embeddings half of the mean squared distance, which is 1 - cosine."""
    found = compare(model, small, eval_batches)
    return 1 - found.agreement if embeds(model) else found.kl


def write_page(rows: list[dict]) -> None:
    """Write docs/research/neurons.md from the cells."""
    lines = [
        "# Re-fitting neurons to the output of their reader",
        "",
        "After a cut the repair re-fits the producers of neurons toward the same neurons of the dense model. Once half",
        "of the neurons are gone, this is not the best target for the others. So where there are enough tokens, the",
        "repair re-fits them a second time, layer by layer, toward the output of their reader and in its metric",
        "([method.md](../concepts/method.md), section 6). This page shows the effect: KL on validation texts, mean of",
        "calibration seeds, the same cut without and with this re-fit, no augmented inputs.",
        "",
        "In each layer the re-fit is validated on a quarter of the texts, which it has not seen, and left out where",
        f"these do not gain. With fewer than {PER_INPUT} tokens for every input of a layer the repair does not re-fit",
        "neurons by default; `--effort thorough` always does. For embeddings, 1 - cosine replaces KL.",
        "The seconds are of one thread on a shared machine and are approximate.",
        "",
        "Made by `python -m experiments.neurons`.",
        "",
        "| task | calibration texts | tokens for every input | seeds | KL without (nats) | KL with "
        "| ratio (lowest to highest) | seconds without | seconds with |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for task in SAMPLES:
        for samples in sorted({row["samples"] for row in rows if row["task"] == task}):
            found = [r for r in rows if (r["task"], r["samples"]) == (task, samples)]
            before, after = (
                sorted((r for r in found if r["neurons"] is each), key=lambda r: r["seed"]) for each in (False, True)
            )
            if before and [r["seed"] for r in before] == [r["seed"] for r in after]:
                ratios = [b["kl"] / a["kl"] for a, b in zip(before, after, strict=True)]
                kls, seconds = (
                    [fmean(r[name] for r in each) for each in (before, after)] for name in ("kl", "seconds")
                )
                lines.append(
                    f"| {TITLES[task]} | {samples:,} | {before[0]['tokens'] / before[0]['inputs']:.0f} "
                    f"| {len(before)} | {kls[0]:.4f} | {kls[1]:.4f} "
                    f"| {fmean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
                    f"| {seconds[0]:.0f} | {seconds[1]:.0f} |"
                )
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
