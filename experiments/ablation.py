"""What each choice of our method buys: one choice changed at a time, movie reviews, keep 1/4, validation split.

Run: python -m experiments.ablation [--seeds 3] [--keep 0.25]
"""

import argparse
import math
from functools import partial
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedModel

from experiments.cells import cell, console
from experiments.movie_reviews import Batches, calibration, dense_model, labelled
from infoprune.compress import compress
from infoprune.ranking.criteria import ChannelInformation, Criterion
from infoprune.settings import Settings
from infoprune.tasks.evaluate import Evaluation, agreement, evaluate, mean_kl

RESULTS = Path(__file__).parent / "results" / "ablation.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "ablation.md"

BASE = ChannelInformation()
VARIANTS: dict[str, tuple[Criterion, Settings]] = {
    "as shipped": (BASE, Settings()),
    "token-weight floor 0.3": (BASE, Settings(floor=0.3)),
    "token-weight floor 1": (BASE, Settings(floor=1.0)),
    "token-weight floor 10": (BASE, Settings(floor=10.0)),
    "token-weight floor inf (all tokens alike)": (BASE, Settings(floor=math.inf)),
    "tau 0.01": (ChannelInformation(tau=0.01), Settings()),
    "tau 1": (ChannelInformation(tau=1.0), Settings()),
    "tau inf (optimal brain surgeon)": (ChannelInformation(tau=math.inf), Settings()),
    "log-determinant, sigma 1": (ChannelInformation(sigma=1.0), Settings()),
    "log-determinant, sigma 0.1": (ChannelInformation(sigma=0.1), Settings()),
    "covariance shrinkage 0.001": (BASE, Settings(shrinkage=1e-3)),
    "covariance shrinkage 0.1": (BASE, Settings(shrinkage=1e-1)),
    "repair ridge 0.01 everywhere": (BASE, Settings(ridge=1e-2)),
    "repair ridge 1 everywhere": (BASE, Settings(ridge=1.0)),
    "repair of readers only": (BASE, Settings(producers=False)),
    "no repair": (BASE, Settings(repair=False)),
    "2 rounds": (BASE, Settings(rounds=2)),
    "2 rounds, refresh never": (BASE, Settings(rounds=2, refresh="never")),
    "refresh before every site": (BASE, Settings(refresh="site")),
}


def main() -> None:
    """Computes what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="calibration draws")
    parser.add_argument("--keep", type=float, default=0.25, help="share of neurons and heads that stays")
    options = parser.parse_args()
    model, tokenizer = dense_model()
    batches = labelled(tokenizer, model, "validation")
    dense = evaluate(model, batches)
    rows: dict[str, list[dict]] = {name: [] for name in VARIANTS}
    for seed in range(options.seeds):
        texts = calibration(tokenizer, seed)
        for name in VARIANTS:
            key = {"variant": name, "keep": options.keep, "seed": seed}
            compute = partial(measure, model, texts, batches, dense, name, options.keep, seed)
            rows[name].append(cell(RESULTS, key, compute))
    write_page(rows, dense.metrics["accuracy"], options.keep)
    console.print(f"wrote {PAGE.name}")


def measure(
    model: PreTrainedModel, texts: Batches, batches: Batches, dense: Evaluation, variant: str, keep: float, seed: int
) -> dict:
    """One cell: compress with a variant, evaluate."""
    criterion, settings = VARIANTS[variant]
    result = compress(model, texts, keep=keep, criterion=criterion, settings=settings, seed=seed)
    small = evaluate(result.model, batches)
    return {
        "kl": mean_kl(dense.logits, small.logits),
        "accuracy": small.metrics["accuracy"],
        "agreement": agreement(dense.logits, small.logits),
        "seconds": result.report.seconds["total"],
    }


def write_page(rows: dict[str, list[dict]], dense: float, keep: float) -> None:
    """docs/ablation.md from the cells."""
    base = fmean(row["kl"] for row in rows["as shipped"])
    seeds = len(rows["as shipped"])
    lines = [
        "# Ablation: what each choice buys",
        "",
        f"MiniLM fine-tuned on short movie reviews; keep {keep:g} of the neurons and heads of every layer; 1,024",
        "unlabelled calibration texts, no training after the cut; validation split (900 texts), on which these",
        "choices were made;",
        f"mean over {seeds} calibration draw(s). Dense accuracy there: {dense:.2%}. One choice is changed at a time.",
        "The seconds are of one run on a shared two-core machine: compare them loosely.",
        "",
        "Made by `python -m experiments.ablation`.",
        "",
        "| choice | KL (nats) | against shipped | lowest to highest KL | accuracy | agreement | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, cells in rows.items():
        kls = [c["kl"] for c in cells]
        lines.append(
            f"| {name} | {fmean(kls):.4f} | {fmean(kls) / base:.2f} | {min(kls):.4f} to {max(kls):.4f} "
            f"| {fmean(c['accuracy'] for c in cells):.2%} | {fmean(c['agreement'] for c in cells):.2%} "
            f"| {fmean(c['seconds'] for c in cells):.0f} |"
        )
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
