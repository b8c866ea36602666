"""What distillation recovers, with at most the computation of the fine-tuning of the dense model.

Run: python -m experiments.recovery [--tasks topics] [--seeds 0 1] [--split validation] [--cuts 4x 10x 20x]
     [--runs NAME ...] [--page]
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from itertools import combinations, product
from pathlib import Path
from statistics import fmean, stdev

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from experiments import movie_reviews, topics
from experiments.cells import OLDER_REPAIR, cell, cells, console
from experiments.movie_reviews import fresh
from experiments.task import CACHE, DEVICE, Batches, Task
from infoprune.budgets.allocate import allocate, even_counts
from infoprune.budgets.budget import Budget, Counts
from infoprune.budgets.costs import Costs, find_costs
from infoprune.budgets.shape import uniform_shape
from infoprune.checkpoint import load, save
from infoprune.data.batches import make_batches
from infoprune.data.texts import TextData, read_texts
from infoprune.plan import plan_of
from infoprune.ranking.criteria import ChannelInformation, Criterion, Magnitude, PairedCriterion
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.statistics.collect_pairs import collect_pairs
from infoprune.statistics.statistics import Statistics
from infoprune.structure.sites import find_sites
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import Evaluation, agreement, evaluate, mean_kl
from infoprune.training.distill import Distillation, distill

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "recovery.jsonl"
PAGE = ROOT / "docs" / "research/recovery.md"
REVIEWS = movie_reviews.TASK
OTHERS = [replace(REVIEWS, name=f"movie_reviews-{shuffle}", shuffle=shuffle) for shuffle in (1, 2)]
TASKS = {task.name: task for task in (REVIEWS, *OTHERS, topics.TASK)}
TITLES = {
    "movie_reviews": "Movie reviews",
    "movie_reviews-1": "Movie reviews, second split",
    "movie_reviews-2": "Movie reviews, third split",
    "topics": "BBC topics",
}
REVIEW_SPLITS = (REVIEWS.name, *(task.name for task in OTHERS))
UNIFORM = ("heads", "ffn", "hidden-size", "pooler")


@dataclass(frozen=True)
class Cut:
    """Size and structures of a cut.

    Args:
        share: Largest share of the dense model's FLOPs that is kept.
        structures: Types of structure to cut; None means the default types.
        uniform: Whether only sizes that plain transformers can open are allowed.
    """

    share: float
    structures: tuple[str, ...] | None = None
    uniform: bool = False


CUTS = {
    "2x": Cut(0.5),
    "4x": Cut(0.25),
    "5x": Cut(0.2),
    "10x": Cut(0.1),
    "20x": Cut(0.05),
    "2x, uniform": Cut(0.5, UNIFORM, uniform=True),
    "4x, uniform": Cut(0.25, UNIFORM, uniform=True),
}

CRITERIA: dict[str, Criterion] = {"information": ChannelInformation(), "fan2021": Fan2021(), "magnitude": Magnitude()}


@dataclass(frozen=True)
class Run:
    """Training after the cut.

    Args:
        criterion: Criterion of the cut.
        texts: Training texts, a key of `TEXTS`; None means no training.
        rate: Learning rate; None means the choice of `distill`.
        token_replacement: Share of the tokens that are replaced; None means the choice of `distill`.
        repeats: Number of steps for which an augmented input is used.
        whole: Whether the training has the FLOPs of the fine-tuning; otherwise it has the number of its steps.
        frozen: Whether embeddings are frozen; None means the choice of `distill`.
    """

    criterion: str = "information"
    texts: str | None = None
    rate: float | None = None
    token_replacement: float | None = None
    repeats: int = Distillation().repeats
    whole: bool = True
    frozen: bool | None = None


TEXTS = {"own": (1, 0), "fresh": (0, 2)}
"""Numbers of the task's own and of fresh training texts, in units of the former (fresh: movie reviews only)."""

RUNS = {
    "no training": Run(),
    "own texts": Run(texts="own"),
    "fan2021, own texts": Run("fan2021", "own"),
    "magnitude, own texts": Run("magnitude", "own"),
}
CHOICES = {
    "own texts, fewer steps": Run(texts="own", whole=False),
    "own texts, not augmented": Run(texts="own", token_replacement=0.0),
    "own texts, new augmentations in every step": Run(texts="own", repeats=1),
    "own texts, embeddings frozen": Run(texts="own", frozen=True),
    "half of the tokens replaced": Run(texts="own", token_replacement=0.5),
    "fresh texts, not augmented": Run(texts="fresh", token_replacement=0.0),
    "rate 0.000125": Run(texts="own", rate=1.25e-4),
    "rate 0.0005": Run(texts="own", rate=5e-4),
}
"""Alternatives to the defaults, compared on the validation split."""

RECIPE = 5
"""Version of the cells; it is increased with every change of the defaults of `distill`."""


def main() -> None:
    """Compute the missing cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["movie_reviews"], choices=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of dense model, texts, training")
    parser.add_argument("--samples", type=int, default=2048, help="calibration texts")
    parser.add_argument("--split", default="test", choices=["test", "validation"], help="split that is scored")
    parser.add_argument("--cuts", nargs="+", default=list(CUTS), choices=list(CUTS))
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=[*RUNS, *CHOICES])
    parser.add_argument("--page", action="store_true", help="write the page from the stored cells alone")
    options = parser.parse_args()
    for task in [] if options.page else options.tasks:
        bench = Bench(task, options.split, options.samples)
        known = {"recipe": RECIPE, "task": task, "split": options.split}
        for seed, other in combinations(options.seeds, 2) if options.split == "test" else ():
            key = {**known, "cut": "another seed", "run": "fine-tuning", "seed": seed, "other": other}
            cell(RESULTS, key, partial(bench.twins, seed, other))
        for seed, cut, name in product(options.seeds, options.cuts, options.runs):
            key = {**known, "cut": cut, "run": name, "seed": seed, "samples": options.samples}
            cell(RESULTS, key, partial(bench.measure, cut, (RUNS | CHOICES)[name], seed))
    write_page([row for row in cells(RESULTS) if row["recipe"] == RECIPE])
    console.print(f"wrote {PAGE.name}")


class Bench:
    """Models and texts of a task, read when first needed; what several cells share is computed once."""

    def __init__(self, task: str, split: str, samples: int) -> None:
        self._task, self._split, self._samples = TASKS[task], split, samples
        self._dense: Callable[[int], tuple] = cache(partial(quick_dense_model, self._task))
        self._collected: Callable[..., tuple] = lru_cache(1)(self._collect)
        self._cut: Callable[..., tuple] = lru_cache(1)(self._prune)
        self._training_batches: Callable[[str], Batches] = cache(self._pack)
        self._evaluated: Callable[[int], tuple] = lru_cache(1)(self._evaluate)

    def measure(self, cut: str, run: Run, seed: int) -> dict:
        """Compute one cell: cut and repair, train, evaluate."""
        small, flops = self._cut(run.criterion, cut, seed)
        seconds, kept, steps = 0.0, None, 0
        if run.texts is not None:
            batches = self._training_batches(run.texts)
            epochs = self._task.epochs * (passes_within(flops, run.repeats) if run.whole else 1)
            epochs /= sum(TEXTS[run.texts])
            how = Distillation(
                epochs=epochs,
                learning_rate=run.rate,
                token_replacement=run.token_replacement,
                repeats=run.repeats,
                freeze_embeddings=run.frozen,
            )
            distilled = distill(small, self._dense(seed)[0], batches, how=how, seed=seed)
            small, seconds, steps = distilled.model, distilled.seconds, distilled.steps
            kept = distilled.kl < distilled.kl_before
        eval_batches, dense = self._evaluated(seed)
        answers = evaluate(small, eval_batches)
        return {
            "kl": mean_kl(dense.logits, answers.logits),
            "accuracy": answers.metrics["accuracy"],
            "dense_accuracy": dense.metrics["accuracy"],
            "agreement": agreement(dense.logits, answers.logits),
            "flops": flops,
            "distill_seconds": round(seconds, 1),
            "device": DEVICE.type,
            "steps": steps,
            "kept": kept,
        }

    def twins(self, seed: int, other: int) -> dict:
        """Compute a cell that compares two dense models."""
        (_, one), (_, two) = (self._evaluate(each) for each in (seed, other))
        return {
            "kl": mean_kl(one.logits, two.logits),
            "agreement": agreement(one.logits, two.logits),
            "accuracy": two.metrics["accuracy"],
            "dense_accuracy": one.metrics["accuracy"],
        }

    def _evaluate(self, seed: int) -> tuple[Batches, Evaluation]:
        model, tokenizer = self._dense(seed)
        eval_batches = self._task.labelled(tokenizer, model, self._split)
        return eval_batches, evaluate(model, eval_batches)

    def _pack(self, name: str) -> Batches:
        """Return the training batches of a key of `TEXTS`."""
        tokenizer = self._dense(0)[1]
        own, others = TEXTS[name]
        batches = self._task.unlabelled(tokenizer)
        if not others:
            return own * batches
        count = others * sum(len(batch["input_ids"]) for batch in batches)
        sentences = TextData(tuple(fresh(count)), None, None, "fresh")
        return own * batches + make_batches(sentences, tokenizer, max_length=128)

    def _collect(self, seed: int, structures: tuple[str, ...] | None) -> tuple[Batches, Statistics, Costs]:
        model, tokenizer = self._dense(seed)
        texts = self._task.calibration(tokenizer, seed, self._samples)
        statistics = collect(model, texts, sites=find_sites(model, structures), seed=seed)
        return texts, statistics, find_costs(model, "flops", texts, structures=structures)

    def _prune(self, name: str, cut: str, seed: int) -> tuple[PreTrainedModel, float]:
        """Return the cut and repaired model, from the cache or computed, and its share of the FLOPs."""
        model, tokenizer = self._dense(seed)
        folder = CACHE / self._task.name / "cuts" / f"{name}-{cut.replace(', ', '-')}-{seed}-{self._samples}"
        if not folder.is_dir():
            save(self._repaired(CRITERIA[name], CUTS[cut], seed), folder, tokenizer)
        small = load(folder).to(DEVICE)
        small.set_attn_implementation("eager")
        costs = find_costs(model, "flops", self._task.calibration(tokenizer, seed), structures=CUTS[cut].structures)
        kept = {site: left for site, (left, _) in plan_of(small).counts.items()}
        return small, costs.of(kept) / costs.dense

    def _repaired(self, criterion: Criterion, cut: Cut, seed: int) -> PreTrainedModel:
        """Return a cut with sizes by the losses where these are in nats, otherwise with the same share everywhere."""
        model = self._dense(seed)[0]
        texts, statistics, costs = self._collected(seed, cut.structures)
        budget = Budget("flops", cut.share)
        known, sizes = statistics, None
        if isinstance(criterion, PairedCriterion):
            units = {name: site.site.units for name, site in statistics.sites.items()}
            sizes = Counts(even_counts(units, costs, budget.limit(costs)))
            known = collect_pairs(model, texts, statistics, criterion.pairing, seed=seed)
        shape = uniform_shape(model, cut.structures) if cut.uniform else None
        plan = allocate(rank(known, criterion, budget=sizes, seed=seed), sizes or budget, costs, shape)
        return repair(apply_plan(model, plan, statistics), model, texts, statistics=statistics)


def passes_within(flops: float, repeats: int) -> float:
    """Return the epochs of distillation that take the FLOPs of one epoch of fine-tuning.

    A step of training is three passes through a model. Distillation has one pass of the teacher beside three of the
    student, once for all steps that use the same augmented input.
    """
    return 3 / (3 * flops + 1 / repeats)


def quick_dense_model(task: Task, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model with eager attention: on short texts, in bfloat16 on CPUs, it trains a third faster."""
    model, tokenizer = task.dense_model(seed)
    model.set_attn_implementation("eager")
    return model, tokenizer


def write_page(rows: list[dict]) -> None:
    """Write docs/research/recovery.md from the cells."""
    lines = [*PREFACE]
    for task, title in TITLES.items():
        own = [row for row in rows if row["task"] == task]
        test, tried = ([row for row in own if row["split"] == split] for split in ("test", "validation"))
        if not test:
            continue
        parts = {split: len(read_texts(path)) for split, path in TASKS[task].splits().items()}
        lines += [
            "",
            f"## {title}",
            "",
            f"{parts['train']:,} training texts, {TASKS[task].epochs} epochs for the dense model; "
            f"{parts['test']:,} test texts. Dense accuracy: {', '.join(_dense(test))}.",
            *_apart(test),
            "",
            *_table(test, parts["train"]),
        ]
        if tried:
            lines += [
                "",
                f"Alternatives to the defaults, on the validation split ({parts['validation']} texts). *Not augmented*",
                "does not replace tokens of the inputs; a *rate* is fixed instead of chosen by `distill`. The standard",
                "error of an accuracy is a point or less, so compare the KL.",
                "",
                *_table(tried, parts["train"]),
            ]
    lines += _pooled(rows)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


PREFACE = (
    "# Recovery: the effect of distillation",
    "",
    "MiniLM is fine-tuned on a task, cut to a share of its FLOPs, repaired, and then trained on the dense model's",
    "outputs without labels. The training has the default settings of `infoprune prune --distill` and the texts that",
    "the dense model was fine-tuned on. Test split; mean over seeds, each with its own dense model, calibration texts",
    "and order of the training.",
    "",
    "No training takes more FLOPs than the fine-tuning of the dense model. A step of fine-tuning is three passes",
    "through the dense model. A step of distillation is three passes through the small model, plus one pass through",
    f"the dense model for every {Distillation().repeats} steps. So a small model may take more steps.",
    "",
    "The sizes of the layers are chosen by their losses in nats. The losses of `fan2021` and `magnitude` are not in",
    "nats, so these cut every layer to the same share. *uniform* is `--shape uniform` with hidden size, heads, neurons",
    "and pooler: plain transformers can open the result. Cut, compensation, repair (unlabelled texts) and training are",
    "the same for all criteria. Methods that prune during training, such as movement pruning, are in",
    "[paper.md](paper.md).",
    "",
    "*own texts* is the default. *New augmentations in every step* needs outputs of the teacher at every step, and so",
    "takes fewer steps in the same FLOPs.",
    "",
    "Embeddings are trained where the hidden size was cut, and not elsewhere. *Embeddings frozen* does not train them;",
    "neither did the uniform cuts with *new augmentations in every step* and those on the validation split.",
    "",
    "Held-out texts decide whether the training is kept: *kept* is the number of seeds for which it was. Where it was",
    "not, the row counts the model from before the training.",
    "",
    "The seconds are of one thread on a shared machine, and those of the second and third split of an H200; they are",
    "approximate. The seconds of 10x and 20x on 2,048 texts, except for one seed of 20x, are older than a change of",
    "the cache of the teacher's outputs: the cache was too small, so the teacher computed many augmented inputs",
    "several times. Trained rows of the first split on 2,048 calibration texts, except for that seed and the uniform",
    "cuts, are older than another change: the augmentations were the same for every seed, and now differ between",
    "seeds.",
    "",
    *OLDER_REPAIR,
    "Made by `python -m experiments.recovery`; only cells that have been computed are shown.",
)


def _apart(rows: list[dict]) -> list[str]:
    """Return how far dense models of two seeds differ."""
    pairs = [row for row in rows if row["cut"] == "another seed"]
    if not pairs:
        return []
    kl, agree = (fmean(row[key] for row in pairs) for key in ("kl", "agreement"))
    return [
        f"For comparison, dense models of two seeds: KL {kl:.3f} nats, agreement on {agree:.1%} of the texts "
        f"(mean of {len(pairs)} pairs)."
    ]


def _dense(rows: list[dict]) -> list[str]:
    return [f"{accuracy:.2%}" for accuracy in dict.fromkeys(row["dense_accuracy"] for row in rows)]


def _pooled(rows: list[dict]) -> list[str]:
    """Return a table over all splits, for the cuts and runs that were measured on each of them."""
    lines = []
    for cut, name in product(CUTS, RUNS):
        wanted = {"split": "test", "cut": cut, "run": name, "samples": 2048}
        found = [row for row in rows if wanted.items() <= row.items() and row["task"] in REVIEW_SPLITS]
        if len({row["task"] for row in found}) == len(REVIEW_SPLITS):
            lost = [100 * (row["dense_accuracy"] - row["accuracy"]) for row in found]
            error = stdev(lost) / math.sqrt(len(lost))
            lines.append(
                f"| {cut} | {name} | {len(found)} | {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) "
                f"| {error:.2f} | {fmean(row['kl'] for row in found):.4f} |"
            )
    if not lines:
        return []
    return [
        "",
        "## Movie reviews, all splits",
        "",
        "The same texts in three different splits: the choice of the split changes the points lost by half a point.",
        "",
        "| cut | after the cut | seeds | points lost (lowest to highest) | standard error | KL (nats) |",
        "|---|---|---|---|---|---|",
        *lines,
    ]


def _table(rows: list[dict], texts: int) -> list[str]:
    """Return one line for every cut, run and number of calibration texts, at most the number of texts."""
    lines = [
        "| cut | FLOPs | calibration texts | after the cut | seeds | kept | accuracy | points lost (lowest to highest) "
        "| KL (nats) | agreement | steps | seconds of training |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cut, (name, run) in product(CUTS, (RUNS | CHOICES).items()):
        found = [row for row in rows if (row["cut"], row["run"]) == (cut, name)]
        for samples in sorted({row["samples"] for row in found}):
            some = [row for row in found if row["samples"] == samples]
            read = min(samples, texts)
            kept = "" if run.texts is None else sum(row["kept"] for row in some)
            lost = [100 * (row["dense_accuracy"] - row["accuracy"]) for row in some]
            mean = {
                key: fmean(row[key] for row in some)
                for key in ("flops", "accuracy", "kl", "agreement", "steps", "distill_seconds")
            }
            lines.append(
                f"| {cut} | {mean['flops']:.1%} | {read:,} | {name} | {len(some)} | {kept} | {mean['accuracy']:.2%} "
                f"| {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) | {mean['kl']:.4f} "
                f"| {mean['agreement']:.2%} | {mean['steps']:.0f} | {mean['distill_seconds']:.0f} |"
            )
    return lines


if __name__ == "__main__":
    main()
