"""A small translator pruned to half without training: Spanish to English verses, BLEU and chrF of held-out books.

Run: SWORD=folder python -m experiments.translation [--seeds 0 1 2]        (needs pysword, sacrebleu, and the verses)
"""

import argparse
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import sacrebleu
import torch
from transformers import MarianMTModel, PreTrainedTokenizerBase

from experiments.cells import cell, cells, console
from experiments.pages import write_part
from experiments.verses import LONGEST, dense_model, verses
from infoprune.budgets.budget import Budget
from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData
from infoprune.pipeline.prune import prune
from infoprune.ranking.criteria import criterion_named

RESULTS = Path(__file__).parent / "results" / "translation.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "research/real-models.md"
CRITERIA = ("information", "magnitude", "random")
SHARES = {
    "3/4 of every layer": (0.75, False, False),
    "1/2 of every layer": (0.5, False, False),
    "3/4 of the layers' parameters": (0.75, True, False),
    "1/2 of the layers' parameters": (0.5, True, False),
    "1/2 of the layers' parameters, blocks removable": (0.5, True, True),
}
"""The share of neurons and heads or of the layers' parameters; whether it is of the parameters (sizes of layers then
follow the losses if these are in nats; else all layers keep the same share); whether whole blocks can be removed."""


def main() -> None:
    """Compute the missing cells and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--goals", nargs="+", default=list(SHARES), choices=list(SHARES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="number of calibration seeds")
    parser.add_argument("--samples", type=int, default=512, help="calibration verses")
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA), choices=list(CRITERIA))
    options = parser.parse_args()
    model, words = dense_model()
    pairs = verses()[options.split]
    cell(RESULTS, {"split": options.split, "criterion": "dense"}, partial(scores, model, words, pairs))
    for seed, goal, criterion in product(options.seeds, options.goals, options.criteria):
        key = {"split": options.split, "seed": seed, "samples": options.samples, "criterion": criterion, "goal": goal}
        cell(RESULTS, key, partial(measure, model, words, pairs, key))
    if options.split == "test":
        write_page([row for row in cells(RESULTS) if row["split"] == "test"])
        console.print(f"wrote {PAGE.name}")


def measure(
    model: MarianMTModel,
    words: PreTrainedTokenizerBase,
    pairs: list[tuple[str, str]],
    key: dict,
) -> dict:
    """Compute one cell: prune on Spanish verses that the model translates itself, translate, score."""
    texts = TextData(tuple(spanish for spanish, _ in verses()["train"]), None, None, "verses")
    batches = make_batches(texts, words, max_length=LONGEST, samples=key["samples"], seed=key["seed"])
    criterion = criterion_named(key["criterion"])
    result = prune(model, batches, **goal_of(model, key["goal"]), criterion=criterion, seed=key["seed"])
    return scores(result.model, words, pairs)


def goal_of(model: MarianMTModel, name: str) -> dict[str, Any]:
    """Return the size for `prune`; a share of the layers' parameters does not count embeddings."""
    share, layers, depth = SHARES[name]
    if not layers:
        return {"keep": share}
    stacks = (model.model.encoder.layers, model.model.decoder.layers)
    inside = sum(parameter.numel() for stack in stacks for parameter in stack.parameters())
    return {"budget": Budget("params", 1 - (1 - share) * inside / model.num_parameters(), depth=depth)}


def scores(model: MarianMTModel, words: PreTrainedTokenizerBase, pairs: list[tuple[str, str]]) -> dict:
    """Return BLEU and chrF of greedy translations."""
    order = sorted(range(len(pairs)), key=lambda row: len(pairs[row][0]))
    translations: dict[int, str] = {}
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        fed = words([pairs[row][0] for row in rows], return_tensors="pt", padding=True, truncation=True)
        with torch.no_grad():
            tokens = model.generate(**fed, max_new_tokens=LONGEST, do_sample=False, num_beams=1)
        translations |= dict(zip(rows, words.batch_decode(tokens, skip_special_tokens=True), strict=True))
    ours, truth = [translations[row] for row in range(len(pairs))], [[english for _, english in pairs]]
    bleu, chrf = sacrebleu.corpus_bleu(ours, truth).score, sacrebleu.corpus_chrf(ours, truth).score
    return {"bleu": bleu, "chrf": chrf, "samples_written": ours[:3]}


def write_page(rows: list[dict]) -> None:
    """Write a table of docs/research/real-models.md from the cells on test books."""
    dense = next(row for row in rows if row["criterion"] == "dense")
    lines = [
        f"| kept (dense: BLEU {dense['bleu']:.1f}, chrF {dense['chrf']:.1f}) | criterion | calibration verses | seeds "
        "| BLEU | BLEU lost (lowest to highest) | chrF |",
        "|---|---|---|---|---|---|---|",
    ]
    for goal, criterion in product(SHARES, CRITERIA):
        cut = [row for row in rows if row.get("goal") == goal and row["criterion"] == criterion]
        for samples in sorted({row["samples"] for row in cut}):
            found = [row for row in cut if row["samples"] == samples]
            lost = [dense["bleu"] - row["bleu"] for row in found]
            lines.append(
                f"| {goal} | {criterion} | {samples:,} | {len(found)} | {fmean(row['bleu'] for row in found):.1f} "
                f"| {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) "
                f"| {fmean(row['chrf'] for row in found):.1f} |"
            )
    write_part(PAGE, "translation", lines)


if __name__ == "__main__":
    main()
