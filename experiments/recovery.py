"""What distillation wins back: movie reviews, in as many steps as the dense model was fine-tuned in.

Run: python -m experiments.recovery [--seeds 3] [--split validation] [--cuts 4x 10x 20x] [--runs NAME ...] [--page]
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from experiments.cells import cell, cells, console
from experiments.movie_reviews import Batches, calibration, dense_model, fresh, labelled, unlabelled
from experiments.task import CACHE
from infoprune.budgets.allocate import allocate, even_counts
from infoprune.budgets.budget import Budget, Counts
from infoprune.budgets.costs import Costs, find_costs
from infoprune.budgets.shape import uniform_shape
from infoprune.checkpoint import load, save
from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData
from infoprune.plan import plan_of
from infoprune.ranking.criteria import ChannelInformation, Criterion, Magnitude, PairedCriterion
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.repair.repair import repair
from infoprune.statistics.collect import collect
from infoprune.statistics.collect_pairs import collect_pairs
from infoprune.statistics.statistics import Statistics
from infoprune.structure.sites import find_sites
from infoprune.surgery import prune
from infoprune.tasks.evaluate import Evaluation, agreement, evaluate, mean_kl
from infoprune.training.distill import Distillation, distill

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "recovery.jsonl"
PAGE = ROOT / "docs" / "recovery.md"
UNIFORM = ("heads", "ffn", "width", "pooler")


@dataclass(frozen=True)
class Cut:
    """How much is cut.

    Args:
        share: of the dense model's FLOPs that may stay.
        kinds: of site to cut; None means what a cut takes by default.
        uniform: choose among the sizes that plain transformers can open.
    """

    share: float
    kinds: tuple[str, ...] | None = None
    uniform: bool = False


CUTS = {"4x": Cut(0.25), "4x, uniform": Cut(0.25, UNIFORM, uniform=True), "10x": Cut(0.1), "20x": Cut(0.05)}

CRITERIA: dict[str, Criterion] = {"information": ChannelInformation(), "fan2021": Fan2021(), "magnitude": Magnitude()}


@dataclass(frozen=True)
class Run:
    """What is done after the cut.

    Args:
        criterion: of the cut.
        texts: trained on, a key of `TEXTS`; None leaves out the training.
        rate: of learning; None is what `distill` chooses.
    """

    criterion: str = "information"
    texts: str | None = None
    rate: float | None = None


TEXTS = {"own": (1, 0, 2.0), "mixed": (1, 1, 1.0), "fresh": (0, 2, 1.0)}
"""The task's own training texts, fresh ones (as many, in units of those), and epochs: always as many steps."""

RUNS = {
    "no training": Run(),
    "own texts": Run(texts="own"),
    "own and fresh texts": Run(texts="mixed"),
    "fresh texts": Run(texts="fresh"),
    "fan2021, fresh texts": Run("fan2021", "fresh"),
    "magnitude, fresh texts": Run("magnitude", "fresh"),
}
CHOICES = {f"rate {rate:g}": Run("information", "fresh", rate) for rate in (1e-4, 2.5e-4, 5e-4, 1e-3, 2e-3)}
"""What the defaults were chosen among, on the validation split."""

RECIPE = 2
"""Of the cells: a number that goes up with every change of what `distill` does by default."""


def main() -> None:
    """Computes what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="draws of calibration texts and of the training's order")
    parser.add_argument("--split", default="test", choices=["test", "validation"], help="what is scored")
    parser.add_argument("--cuts", nargs="+", default=list(CUTS), choices=list(CUTS))
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=[*RUNS, *CHOICES])
    parser.add_argument("--page", action="store_true", help="write the page from the cells that are there")
    options = parser.parse_args()
    if not options.page:
        bench = Bench(options.split)
        for seed in range(options.seeds):
            for cut in options.cuts:
                for name in options.runs:
                    key = {"recipe": RECIPE, "split": options.split, "cut": cut, "run": name, "seed": seed}
                    cell(RESULTS, key, partial(bench.measure, cut, (RUNS | CHOICES)[name], seed))
    write_page([row for row in cells(RESULTS) if row["recipe"] == RECIPE])
    console.print(f"wrote {PAGE.name}")


class Bench:
    """Model and texts, read when first asked for; what the cells of a draw share is computed once."""

    def __init__(self, split: str) -> None:
        self._split = split
        self._dense: Callable[[], tuple] = cache(quick_dense_model)
        self._collected: Callable[..., tuple] = cache(self._collect)
        self._cut: Callable[..., tuple] = cache(self._prune)
        self._lessons: Callable[[str], Batches] = cache(self._pack)
        self._asked: Callable[[], tuple] = cache(self._ask)

    def measure(self, cut: str, run: Run, seed: int) -> dict:
        """One cell: cut and repair, train, evaluate."""
        small, flops = self._cut(run.criterion, cut, seed)
        seconds, kept = 0.0, None
        if run.texts is not None:
            how = Distillation(epochs=TEXTS[run.texts][2], learning_rate=run.rate)
            distilled = distill(small, self._dense()[0], self._lessons(run.texts), how=how, seed=seed)
            small, seconds = distilled.model, distilled.seconds
            kept = distilled.kl < distilled.kl_before
        questions, dense = self._asked()
        answers = evaluate(small, questions)
        return {
            "kl": mean_kl(dense.logits, answers.logits),
            "accuracy": answers.metrics["accuracy"],
            "dense_accuracy": dense.metrics["accuracy"],
            "agreement": agreement(dense.logits, answers.logits),
            "flops": flops,
            "distill_seconds": round(seconds, 1),
            "kept": kept,
        }

    def _ask(self) -> tuple[Batches, Evaluation]:
        model, tokenizer = self._dense()
        questions = labelled(tokenizer, model, self._split)
        return questions, evaluate(model, questions)

    def _pack(self, name: str) -> Batches:
        """Training texts of one kind."""
        tokenizer = self._dense()[1]
        own, others, _ = TEXTS[name]
        batches = unlabelled(tokenizer)
        count = others * sum(len(batch["input_ids"]) for batch in batches)
        sentences = TextData(tuple(fresh(count)), None, None, "fresh")
        return own * batches + (make_batches(sentences, tokenizer, max_length=128) if count else [])

    def _collect(self, seed: int, kinds: tuple[str, ...] | None) -> tuple[Batches, Statistics, Costs]:
        model, tokenizer = self._dense()
        texts = calibration(tokenizer, seed)
        statistics = collect(model, texts, sites=find_sites(model, kinds), seed=seed)
        return texts, statistics, find_costs(model, "flops", texts, kinds=kinds)

    def _prune(self, name: str, cut: str, seed: int) -> tuple[PreTrainedModel, float]:
        """The repaired cut, from the cache or made, and its share of the FLOPs."""
        model, tokenizer = self._dense()
        folder = CACHE / "recovery" / f"{name}-{cut.replace(', ', '-')}-{seed}"
        if not folder.is_dir():
            save(self._repaired(CRITERIA[name], CUTS[cut], seed), folder, tokenizer)
        small = load(folder)
        small.set_attn_implementation("eager")
        costs = find_costs(model, "flops", calibration(tokenizer, seed), kinds=CUTS[cut].kinds)
        kept = {site: left for site, (left, _) in plan_of(small).counts.items()}
        return small, costs.of(kept) / costs.dense

    def _repaired(self, criterion: Criterion, cut: Cut, seed: int) -> PreTrainedModel:
        """A cut with sizes chosen by the losses where these are nats, otherwise with the same share everywhere."""
        model = self._dense()[0]
        texts, statistics, costs = self._collected(seed, cut.kinds)
        budget = Budget("flops", cut.share)
        known, sizes = statistics, None
        if isinstance(criterion, PairedCriterion):
            units = {name: site.site.units for name, site in statistics.sites.items()}
            sizes = Counts(even_counts(units, costs, budget.limit(costs)))
            known = collect_pairs(model, texts, statistics, criterion.pairing, seed=seed)
        shape = uniform_shape(model, cut.kinds) if cut.uniform else None
        plan = allocate(rank(known, criterion, budget=sizes, seed=seed), sizes or budget, costs, shape)
        return repair(prune(model, plan, statistics), model, texts, statistics=statistics)


def quick_dense_model() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Attention in plain products: on short texts, in bfloat16 on CPUs, a third faster to train than the fused one."""
    model, tokenizer = dense_model()
    model.set_attn_implementation("eager")
    return model, tokenizer


def write_page(rows: list[dict]) -> None:
    """docs/recovery.md from the cells."""
    test, tried = ([row for row in rows if row["split"] == split] for split in ("test", "validation"))
    lines = [
        "# Recovery: what distillation wins back",
        "",
        "MiniLM fine-tuned on short movie reviews, cut to a share of its FLOPs, repaired, and then trained on the",
        "dense model's answers, without labels, with the default settings of `infoprune prune --distill`; mean over",
        f"the draws, test split (1,700 texts). Dense accuracy: {test[0]['dense_accuracy']:.2%}. No training has more",
        "steps than the fine-tuning of the dense model had (2 epochs of 5,930 texts, 32 a step):",
        "",
        "* *own texts*: those that the dense model was fine-tuned on, twice;",
        "* *own and fresh texts*: these once, and once as many sentences of other reviews that nobody has labelled;",
        "* *fresh texts*: twice as many of such sentences, once.",
        "",
        "The sizes of the layers are chosen by their losses in nats; `fan2021` and `magnitude`, whose losses are not",
        "nats, cut every layer alike. *uniform* is `--shape uniform` with width, heads, neurons and pooler: plain",
        "transformers can open it. Cut, compensation, repair (1,024 unlabelled texts) and training are the same for",
        "all criteria. Movement pruning, which chooses while it trains, is not built and not in the table.",
        "",
        "Texts that are held out decide whether the training is kept: *kept* says in how many draws it was. Where it",
        "was not, the row counts the model from before the training.",
        "",
        "Made by `python -m experiments.recovery`; only cells that have been computed are shown.",
        "",
        *_table(test),
        "",
        "The seconds are of one thread on a shared machine: compare them loosely.",
    ]
    if tried:
        lines += [
            "",
            "## Another learning rate",
            "",
            "On the validation split (900 texts); *fresh texts* is with the rate that `distill` chooses. The KL is the",
            "least with it; accuracy is not the highest, by its standard error of a point or less: no more than the",
            "order of magnitude of a good rate is known.",
            "",
            *_table(tried),
        ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(rows: list[dict]) -> list[str]:
    lines = [
        "| cut | FLOPs | after the cut | draws | kept | accuracy | points lost (lowest to highest) | KL (nats) "
        "| agreement | seconds of training |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cut in CUTS:
        for name, run in (RUNS | CHOICES).items():
            some = [row for row in rows if (row["cut"], row["run"]) == (cut, name)]
            if not some:
                continue
            kept = "" if run.texts is None else sum(row["kept"] for row in some)
            lost = [100 * (row["dense_accuracy"] - row["accuracy"]) for row in some]
            mean = {
                key: fmean(row[key] for row in some)
                for key in ("flops", "accuracy", "kl", "agreement", "distill_seconds")
            }
            lines.append(
                f"| {cut} | {mean['flops']:.1%} | {name} | {len(some)} | {kept} | {mean['accuracy']:.2%} "
                f"| {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) | {mean['kl']:.4f} "
                f"| {mean['agreement']:.2%} | {mean['distill_seconds']:.0f} |"
            )
    return lines


if __name__ == "__main__":
    main()
