"""The paper's selection as we read it, against ours and simple baselines, with and without repair and fine-tuning.

Every option of `Fan2021` is measured on the validation split of movie reviews. Its defaults and the baselines are
reported on the test split of two tasks: cut, repaired, and each of these fine-tuned for the same few steps.
Run: python -m experiments.fan2021 [--seeds 1] [--only test] [--tasks topics] [--keep 0.5]
"""

import argparse
import copy
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedModel

from experiments import movie_reviews, topics
from experiments.cells import cell, console
from experiments.task import Batches, Task
from infoprune.budgets.allocate import Keep, allocate
from infoprune.data.batches import label_ids, make_batches, sampled
from infoprune.data.texts import read_texts
from infoprune.ranking.criteria import ChannelInformation, Criterion, Magnitude, PairedCriterion, Random
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.repairing.repair import repair
from infoprune.statistics.collect import collect
from infoprune.statistics.collect_pairs import collect_pairs
from infoprune.statistics.statistics import Statistics
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import Evaluation, evaluate, mean_kl
from infoprune.training.finetune import finetune

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "fan2021.jsonl"
PAGE = ROOT / "docs" / "research/fan2021.md"
TASKS = {"movie_reviews": movie_reviews.TASK, "topics": replace(topics.TASK, name="topics-64", max_length=64, epochs=2)}
TITLES = {"movie_reviews": "Movie reviews", "topics": "BBC topics"}

BASELINES: dict[str, Criterion] = {
    "information": ChannelInformation(),
    "magnitude": Magnitude(),
    "random": Random(),
}
OPTIONS: dict[str, Criterion] = {  # variants that share their pairs are adjacent
    "fan2021": Fan2021(),
    "mean over the units above": Fan2021(aggregation="mean"),
    "max over the units above": Fan2021(aggregation="max"),
    "mrmr": Fan2021(redundancy="mrmr"),
    "mrmr, mean over the units above": Fan2021(redundancy="mrmr", aggregation="mean"),
    "joint (greedy)": Fan2021(redundancy="joint"),
    "joint (greedy), ridge 0.1": Fan2021(redundancy="joint", ridge=0.1),
    "importance smoothing 0.3": Fan2021(smoothing=0.3),
    "all tokens alike": Fan2021(smoothing=float("inf")),
    "all tokens alike, joint (greedy)": Fan2021(smoothing=float("inf"), redundancy="joint"),
    "labels on top": Fan2021(target="labels"),
    "copula": Fan2021(estimator="copula"),
    "copula, mrmr": Fan2021(estimator="copula", redundancy="mrmr"),
    "copula, joint (greedy)": Fan2021(estimator="copula", redundancy="joint"),
    "ksg": Fan2021(estimator="ksg"),
}
CELLS: dict[str, dict[str, Criterion]] = {
    "test": {"fan2021": OPTIONS["fan2021"]} | BASELINES,
    "validation": BASELINES | OPTIONS,
}
KEEPS = {"test": (0.5, 0.25, 0.75), "validation": (0.5, 0.25)}
SAMPLES = {"test": 512, "validation": 1024}
BATCH = 32
LEARNING_RATE = 3e-5
"""The better of 3e-5 and 1e-4 for our own choice, cut and repaired: validation split, keep 1/2."""


def main() -> None:
    """Compute the missing cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="number of calibration seeds")
    parser.add_argument("--only", choices=("validation", "test"), help="compute the cells of one split, write no page")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--keep", nargs="+", type=float, help="compute the cells of these shares only")
    parser.add_argument("--page", action="store_true", help="write the page from the stored cells alone")
    options = parser.parse_args()
    for name in () if options.page else options.tasks:
        bench = Bench(TASKS[name])
        for seed in range(options.seeds):
            for split in ("test", "validation") if options.only is None else (options.only,):
                if split == "test" or name == "movie_reviews":
                    compute(bench, Calibration(bench, seed, SAMPLES[split]), split, options.keep or KEEPS[split])
    if options.only is None:
        rows = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
        write_page(rows)
        console.print(f"wrote {PAGE.name}")


def compute(bench: "Bench", calibration: "Calibration", split: str, keeps: Iterable[float]) -> None:
    """Compute the missing cells of a seed."""
    for keep in keeps:
        for name, criterion in CELLS[split].items():
            key = {"task": bench.name, "split": split, "criterion": name, "keep": keep, "seed": calibration.seed}
            cell(RESULTS, key, partial(measure, bench, calibration, criterion, key))


class Bench:
    """Model and evaluation batches of a task, and the outputs of the dense model, computed when first needed."""

    def __init__(self, task: Task):
        self.task = task
        self.name = next(name for name, known in TASKS.items() if known is task)
        self.model, self.tokenizer = task.dense_model()
        self.eval_batches: Callable[[str], Batches] = cache(partial(task.labelled, self.tokenizer, self.model))
        self.dense: Callable[[str], Evaluation] = cache(lambda split: evaluate(self.model, self.eval_batches(split)))

    def score(self, small: PreTrainedModel, split: str) -> dict:
        """Return KL and accuracy of a pruned model."""
        answers, dense = evaluate(small, self.eval_batches(split)), self.dense(split)
        return {"kl": mean_kl(dense.logits, answers.logits), "accuracy": answers.metrics["accuracy"]}


class Calibration:
    """Calibration texts and their statistics, collected when first needed and shared by all criteria."""

    def __init__(self, bench: Bench, seed: int, samples: int):
        data = read_texts(bench.task.splits()["train"], need_labels=True)
        self.data = data.among(sampled(len(data), samples, seed))
        self.model, self.seed = bench.model, seed
        labels = label_ids(self.data.labels, bench.model.config)
        self.texts = make_batches(self.data, bench.tokenizer, max_length=bench.task.max_length, labels=labels)
        self.plain: Callable[[], Statistics] = cache(lambda: collect(bench.model, self.texts))
        self._last: tuple[object, Statistics] | None = None

    def statistics(self, criterion: Criterion) -> Statistics:
        """Return the statistics, with pairs for a criterion that needs them; only the latest pairs stay in memory."""
        if not isinstance(criterion, PairedCriterion):
            return self.plain()
        if self._last is None or self._last[0] != criterion.pairing:
            self._last = None
            pairs = collect_pairs(self.model, self.texts, self.plain(), criterion.pairing, seed=self.seed)
            self._last = (criterion.pairing, pairs)
        return self._last[1]


def measure(bench: Bench, calibration: Calibration, criterion: Criterion, key: dict) -> dict:
    """Compute one cell: the cut alone and the stages after it."""
    model, plain = calibration.model, calibration.plain()
    rankings = rank(calibration.statistics(criterion), criterion, budget=Keep(key["keep"]), seed=calibration.seed)
    plan = allocate(rankings, Keep(key["keep"]))
    stages = {"cut": apply_plan(model, plan)}
    compensated = apply_plan(model, plan, plain)
    if key["split"] == "validation":
        stages["compensated"] = compensated
    else:
        stages["repaired"] = repair(compensated, model, calibration.texts, statistics=plain)
        stages |= {f"{stage}, tuned": tuned(bench, calibration, small) for stage, small in stages.items()}
    dense = {"dense_accuracy": bench.dense(key["split"]).metrics["accuracy"]}
    return dense | {stage: bench.score(small, key["split"]) for stage, small in stages.items()}


def tuned(bench: Bench, calibration: Calibration, small: PreTrainedModel) -> PreTrainedModel:
    """Return a copy that is fine-tuned for one epoch on the labelled calibration texts."""
    small, length = copy.deepcopy(small), bench.task.max_length or 128
    recipe = {"epochs": 1, "learning_rate": LEARNING_RATE, "batch_size": BATCH, "max_length": length}
    finetune(small, bench.tokenizer, calibration.data, **recipe)
    return small


def write_page(rows: list[dict]) -> None:
    """Write docs/research/fan2021.md from the cells."""
    lines = [
        "# The paper's selection, as we read it, measured",
        "",
        "MiniLM, fine-tuned on each task; every layer keeps the same share of its neurons and heads; mean over",
        "calibration seeds. `information` is `ChannelInformation`; [criteria/fan2021.md](criteria/fan2021.md) explains",
        "`fan2021` and its options. *Cut*: rows and columns are removed and nothing else is changed. *Compensated*:",
        "the readers are re-fitted to the remaining units. *Repaired*: the cut is compensated and the whole repair is",
        "run, from the bottom up.",
        "",
        "Made by `python -m experiments.fan2021`; only cells that have been computed are shown.",
        "",
        "## Against other criteria",
        "",
        f"{SAMPLES['test']} calibration texts. *Tuned*: then fine-tuned for one epoch with the labels of the same",
        f"texts: {SAMPLES['test'] // BATCH} steps of {BATCH} texts, learning rate {LEARNING_RATE:.0e}, the same for",
        "all criteria. News articles are truncated after 64 tokens, for the dense model as well. The KL is measured",
        "from the dense model, which is not the target of tuning on labels.",
        "",
        "On movie reviews without a repair, the paper's selection is far more accurate than magnitude and random.",
        "After the repair its accuracy is within two points of theirs, and its KL is lower. Repaired, `information` is",
        "one to four points more accurate, with a larger gap where fewer units are kept. On news without a repair, the",
        "paper's selection is more accurate than both at keep 0.25 as well. After the repair it is less accurate there",
        "than magnitude (94.8% against 97.0%) and no better than random. `information` has the smallest KL everywhere.",
        "For every criterion the repair contributes more than the choice of units, since repaired random units are",
        "level with or above all units that are only cut. It also contributes more than these few steps of tuning.",
        "After the repair, tuning changes the accuracy by at most one and a half points in either direction. All",
        "figures are of one seed: differences below a point mean little, and five of the 500 news articles are one",
        "point.",
        "",
    ]
    for task in dict.fromkeys(row["task"] for row in rows if row["split"] == "test"):
        some = [row for row in rows if row["task"] == task and row["split"] == "test"]
        accuracy = fmean(row["dense_accuracy"] for row in some if "dense_accuracy" in row)
        lines += [f"{TITLES[task]}, test split; dense accuracy {accuracy:.2%}. Accuracy, and KL in nats.", ""]
        lines += [*table(some, "test", ("cut", "compensated", "repaired", "cut, tuned", "repaired, tuned")), ""]
    options = [row for row in rows if row["split"] == "validation"]
    lines += [
        "## Options",
        "",
        f"Movie reviews, validation split (900 texts), {SAMPLES['validation']:,} calibration texts, no training. One",
        "option is changed at a time unless the row names two.",
        "",
        *table(options, "validation", ("cut", "compensated")),
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(rows: list[dict], split: str, stages: tuple[str, ...]) -> Iterator[str]:
    """Yield one row for every share and criterion with computed cells."""
    stages = tuple(stage for stage in stages if any(stage in row for row in rows))
    yield f"| keep | criterion | seeds | {' | '.join(f'{stage} | KL' for stage in stages)} |"
    yield "|" + "---|" * (3 + 2 * len(stages))
    for keep in sorted(KEEPS[split], reverse=True):
        for name in (*BASELINES, *OPTIONS):
            cells = [row for row in rows if (row["keep"], row["criterion"]) == (keep, name)]
            if cells:
                seeds = len({row["seed"] for row in cells})
                yield f"| {keep:g} | {title(name)} | {seeds} | {columns(cells, stages)} |"


def title(name: str) -> str:
    """Return the name of a row; options of `Fan2021` are named after it."""
    return name if name in BASELINES or name == "fan2021" else f"fan2021, {name}"


def columns(cells: list[dict], stages: tuple[str, ...]) -> str:
    """Return mean accuracy and KL of every stage."""
    found = [[cell[stage] for cell in cells if stage in cell] for stage in stages]
    return " | ".join(
        f"{fmean(c['accuracy'] for c in some):.2%} | {fmean(c['kl'] for c in some):.3f}" if some else " | "
        for some in found
    )


if __name__ == "__main__":
    main()
