"""A small translator cut to half without training: Spanish to English verses, BLEU and chrF of held-out books.

Run: SWORD=folder python -m experiments.translation [--keep 0.75 0.5]      (needs pysword, sacrebleu, and the verses)
"""

import argparse
from functools import partial
from pathlib import Path

import sacrebleu
import torch
from transformers import MarianMTModel, PreTrainedTokenizerBase

from experiments.cells import cell, cells, console
from experiments.pages import write_part
from experiments.verses import LONGEST, dense_model, verses
from infoprune.compress import compress
from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData
from infoprune.ranking.criteria import criterion_named

RESULTS = Path(__file__).parent / "results" / "translation.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "real-models.md"
CRITERIA = ("information", "magnitude", "random")
KEEPS = (0.75, 0.5)
SAMPLES = 512


def main() -> None:
    """Computes what is missing and writes the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--keep", type=float, nargs="+", default=KEEPS)
    parser.add_argument("--seed", type=int, default=0, help="calibration draw")
    options = parser.parse_args()
    model, words = dense_model()
    pairs = verses()[options.split]
    key = {"split": options.split, "seed": options.seed, "samples": SAMPLES}
    cell(RESULTS, {**key, "criterion": "dense", "keep": 1.0}, partial(scores, model, words, pairs))
    for keep in options.keep:
        for criterion in CRITERIA:
            compute = partial(measure, model, words, pairs, criterion, keep, options.seed)
            cell(RESULTS, {**key, "criterion": criterion, "keep": keep}, compute)
    if options.split == "test":
        write_page([row for row in cells(RESULTS) if row["split"] == "test"])
        console.print(f"wrote {PAGE.name}")


def measure(
    model: MarianMTModel,
    words: PreTrainedTokenizerBase,
    pairs: list[tuple[str, str]],
    criterion: str,
    keep: float,
    seed: int,
) -> dict:
    """One cell: compress on Spanish verses that the model translates itself, translate, score."""
    texts = TextData(tuple(spanish for spanish, _ in verses()["train"]), None, None, "verses")
    batches = make_batches(texts, words, max_length=LONGEST, samples=SAMPLES, seed=seed)
    result = compress(model, batches, keep=keep, criterion=criterion_named(criterion), seed=seed)
    return scores(result.model, words, pairs)


def scores(model: MarianMTModel, words: PreTrainedTokenizerBase, pairs: list[tuple[str, str]]) -> dict:
    """BLEU and chrF of greedy translations."""
    order = sorted(range(len(pairs)), key=lambda row: len(pairs[row][0]))
    said: dict[int, str] = {}
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        fed = words([pairs[row][0] for row in rows], return_tensors="pt", padding=True, truncation=True)
        with torch.no_grad():
            tokens = model.generate(**fed, max_new_tokens=LONGEST, do_sample=False, num_beams=1)
        said |= dict(zip(rows, words.batch_decode(tokens, skip_special_tokens=True), strict=True))
    ours, truth = [said[row] for row in range(len(pairs))], [[english for _, english in pairs]]
    bleu, chrf = sacrebleu.corpus_bleu(ours, truth).score, sacrebleu.corpus_chrf(ours, truth).score
    return {"bleu": bleu, "chrf": chrf, "samples_written": ours[:3]}


def write_page(rows: list[dict]) -> None:
    """A table of docs/real-models.md from the cells on test books."""
    lines = ["| keep | criterion | BLEU | chrF |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (-row["keep"], -row["bleu"])):
        lines.append(f"| {row['keep']:g} | {row['criterion']} | {row['bleu']:.1f} | {row['chrf']:.1f} |")
    write_part(PAGE, "translation", lines)


if __name__ == "__main__":
    main()
