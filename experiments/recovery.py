"""What distillation wins back: movie reviews, the dense model's own training texts without their labels, test split.

Run: python -m experiments.recovery [--seeds 3] [--split validation]
"""

import argparse
from functools import partial
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedModel

from experiments.cells import cell, console
from experiments.movie_reviews import Batches, calibration, dense_model, labelled, unlabelled
from infoprune.budgets.budget import Budget
from infoprune.compress import compress
from infoprune.settings import Settings
from infoprune.tasks.evaluate import Evaluation, agreement, evaluate, mean_kl
from infoprune.training.distill import Distillation, Recovery

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "recovery.jsonl"
PAGE = ROOT / "docs" / "recovery.md"
CUTS = {"4x": 0.25, "10x": 0.1, "20x": 0.05}
"""Share of the dense model's FLOPs that may stay; the sizes of the sites are free."""

RUNS = ((1, 0), (1, 2), (2, 2))
"""(rounds, epochs); the dense model was fine-tuned for 2 epochs on the same texts."""


def main() -> None:
    """Computes what is missing and, for the test split, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="draws of calibration texts and of the training's order")
    parser.add_argument("--split", default="test", choices=["test", "validation"], help="what is scored")
    options = parser.parse_args()
    model, tokenizer = dense_model()
    batches, lessons = labelled(tokenizer, model, options.split), unlabelled(tokenizer)
    dense = evaluate(model, batches)
    rows = []
    for seed in range(options.seeds):
        texts = calibration(tokenizer, seed)
        for cut in CUTS:
            for rounds, epochs in RUNS:
                key = {"split": options.split, "cut": cut, "rounds": rounds, "epochs": epochs, "seed": seed}
                compute = partial(measure, model, texts, lessons, batches, dense, cut, rounds, epochs, seed)
                rows.append(cell(RESULTS, key, compute))
    if options.split == "test":
        write_page(rows)
        console.print(f"wrote {PAGE.name}")


def measure(
    model: PreTrainedModel,
    texts: Batches,
    lessons: Batches,
    batches: Batches,
    dense: Evaluation,
    cut: str,
    rounds: int,
    epochs: float,
    seed: int,
) -> dict:
    """One cell: compress with training or without, evaluate."""
    recovery = Recovery(lessons, Distillation(epochs=epochs)) if epochs else None
    budget, settings = Budget("flops", CUTS[cut]), Settings(rounds=rounds)
    result = compress(model, texts, budget=budget, settings=settings, recovery=recovery, seed=seed)
    small, report = evaluate(result.model, batches), result.report
    return {
        "kl": mean_kl(dense.logits, small.logits),
        "accuracy": small.metrics["accuracy"],
        "dense_accuracy": dense.metrics["accuracy"],
        "agreement": agreement(dense.logits, small.logits),
        "flops": report.pruned.flops / report.dense.flops,
        "seconds": report.seconds["total"],
        "distill_seconds": report.seconds["distill"],
    }


def write_page(rows: list[dict]) -> None:
    """docs/recovery.md from the cells."""
    lines = [
        "# Recovery: what distillation wins back",
        "",
        "MiniLM fine-tuned on short movie reviews, cut and then trained on the dense model's answers to its own",
        "training texts, without their labels; default settings of `infoprune prune --distill`; mean over the seeds,",
        f"test split (1,700 texts). Dense accuracy: {rows[0]['dense_accuracy']:.2%}. The dense model itself was",
        "fine-tuned for 2 epochs on these texts. The seconds are of one run on a shared two-core machine: compare them",
        "loosely.",
        "",
        "Made by `python -m experiments.recovery`.",
        "",
        "| budget | FLOPs | rounds | epochs | seeds | accuracy | points lost (lowest to highest) | KL (nats) "
        "| agreement | seconds | of these training |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cut, share in CUTS.items():
        for rounds, epochs in RUNS:
            cells = [row for row in rows if (row["cut"], row["rounds"], row["epochs"]) == (cut, rounds, epochs)]
            lost = [100 * (row["dense_accuracy"] - row["accuracy"]) for row in cells]
            mean = {name: fmean(row[name] for row in cells) for name in cells[0] if name not in ("split", "cut")}
            lines.append(
                f"| flops={share:g} | {mean['flops']:.1%} | {rounds} | {epochs} | {len(cells)} "
                f"| {mean['accuracy']:.2%} | {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) "
                f"| {mean['kl']:.4f} | {mean['agreement']:.2%} | {mean['seconds']:.0f} "
                f"| {mean['distill_seconds']:.0f} |"
            )
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
