"""The paper's selection as we read it, against ours and the plain ones, with repair and fine-tuning and without.

Every option of `Fan2021` is looked at on the validation split of movie reviews; its defaults and the rivals are
reported on the test split of two tasks, cut and repaired, and both of these fine-tuned alike for a few steps.
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
from infoprune.data.batches import drawn, label_ids, make_batches
from infoprune.data.texts import read_texts
from infoprune.ranking.criteria import ChannelInformation, Criterion, Magnitude, PairedCriterion, Random
from infoprune.ranking.fan2021 import Fan2021
from infoprune.ranking.rank import rank
from infoprune.repair.repair import repair
from infoprune.statistics.collect import collect
from infoprune.statistics.collect_pairs import collect_pairs
from infoprune.statistics.statistics import Statistics
from infoprune.surgery import prune
from infoprune.tasks.evaluate import Evaluation, evaluate, mean_kl
from infoprune.training.finetune import finetune

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "fan2021.jsonl"
PAGE = ROOT / "docs" / "fan2021.md"
TASKS = {"movie_reviews": movie_reviews.TASK, "topics": replace(topics.TASK, name="topics-64", max_length=64, epochs=2)}
TITLES = {"movie_reviews": "Movie reviews", "topics": "BBC topics"}

RIVALS: dict[str, Criterion] = {
    "information": ChannelInformation(),
    "magnitude": Magnitude(),
    "random": Random(),
}
OPTIONS: dict[str, Criterion] = {  # variants that share their pairs stand together
    "fan2021": Fan2021(),
    "mean over the units above": Fan2021(aggregation="mean"),
    "max over the units above": Fan2021(aggregation="max"),
    "mrmr": Fan2021(redundancy="mrmr"),
    "mrmr, mean over the units above": Fan2021(redundancy="mrmr", aggregation="mean"),
    "joint (greedy)": Fan2021(redundancy="joint"),
    "joint (greedy), ridge 0.1": Fan2021(redundancy="joint", ridge=0.1),
    "token-weight floor 0.3": Fan2021(floor=0.3),
    "all tokens alike": Fan2021(floor=float("inf")),
    "all tokens alike, joint (greedy)": Fan2021(floor=float("inf"), redundancy="joint"),
    "labels on top": Fan2021(target="labels"),
    "copula": Fan2021(estimator="copula"),
    "copula, mrmr": Fan2021(estimator="copula", redundancy="mrmr"),
    "copula, joint (greedy)": Fan2021(estimator="copula", redundancy="joint"),
    "ksg": Fan2021(estimator="ksg"),
}
CELLS: dict[str, dict[str, Criterion]] = {
    "test": {"fan2021": OPTIONS["fan2021"]} | RIVALS,
    "validation": RIVALS | OPTIONS,
}
KEEPS = {"test": (0.5, 0.25, 0.75), "validation": (0.5, 0.25)}
SAMPLES = {"test": 512, "validation": 1024}
BATCH = 32
LEARNING_RATE = 3e-5
"""On the validation split, keep 1/2, the better of this and 1e-4 for our own choice, cut and repaired."""


def main() -> None:
    """Computes what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="calibration draws")
    parser.add_argument("--only", choices=("validation", "test"), help="compute some cells, write no page")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--keep", nargs="+", type=float, help="compute the cells of these shares alone")
    parser.add_argument("--page", action="store_true", help="write the page from the cells that are there")
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
    """The missing cells of a draw."""
    for keep in keeps:
        for name, criterion in CELLS[split].items():
            key = {"task": bench.name, "split": split, "criterion": name, "keep": keep, "seed": calibration.seed}
            cell(RESULTS, key, partial(measure, bench, calibration, criterion, key))


class Bench:
    """A task's model and questions, and the model's answers, computed when first asked for."""

    def __init__(self, task: Task):
        self.task = task
        self.name = next(name for name, known in TASKS.items() if known is task)
        self.model, self.tokenizer = task.dense_model()
        self.questions: Callable[[str], Batches] = cache(partial(task.labelled, self.tokenizer, self.model))
        self.dense: Callable[[str], Evaluation] = cache(lambda split: evaluate(self.model, self.questions(split)))

    def score(self, small: PreTrainedModel, split: str) -> dict:
        """KL and accuracy of a smaller model."""
        answers, dense = evaluate(small, self.questions(split)), self.dense(split)
        return {"kl": mean_kl(dense.logits, answers.logits), "accuracy": answers.metrics["accuracy"]}


class Calibration:
    """Calibration texts and their statistics, collected when first asked for and shared by all criteria."""

    def __init__(self, bench: Bench, seed: int, samples: int):
        data = read_texts(bench.task.splits()["train"], need_labels=True)
        self.data = data.among(drawn(len(data), samples, seed))
        self.model, self.seed = bench.model, seed
        labels = label_ids(self.data.labels, bench.model.config)
        self.texts = make_batches(self.data, bench.tokenizer, max_length=bench.task.max_length, labels=labels)
        self.plain: Callable[[], Statistics] = cache(lambda: collect(bench.model, self.texts))
        self._last: tuple[object, Statistics] | None = None

    def statistics(self, criterion: Criterion) -> Statistics:
        """With pairs for a criterion that needs them; only the latest pairs are kept, since they are large."""
        if not isinstance(criterion, PairedCriterion):
            return self.plain()
        if self._last is None or self._last[0] != criterion.pairing:
            self._last = None
            pairs = collect_pairs(self.model, self.texts, self.plain(), criterion.pairing, seed=self.seed)
            self._last = (criterion.pairing, pairs)
        return self._last[1]


def measure(bench: Bench, calibration: Calibration, criterion: Criterion, key: dict) -> dict:
    """One cell: the cut alone and what is done after it."""
    model, plain = calibration.model, calibration.plain()
    rankings = rank(calibration.statistics(criterion), criterion, budget=Keep(key["keep"]), seed=calibration.seed)
    plan = allocate(rankings, Keep(key["keep"]))
    stages = {"cut": prune(model, plan)}
    compensated = prune(model, plan, plain)
    if key["split"] == "validation":
        stages["compensated"] = compensated
    else:
        stages["repaired"] = repair(compensated, model, calibration.texts, statistics=plain)
        stages |= {f"{stage}, tuned": tuned(bench, calibration, small) for stage, small in stages.items()}
    dense = {"dense_accuracy": bench.dense(key["split"]).metrics["accuracy"]}
    return dense | {stage: bench.score(small, key["split"]) for stage, small in stages.items()}


def tuned(bench: Bench, calibration: Calibration, small: PreTrainedModel) -> PreTrainedModel:
    """A copy, fine-tuned on the labels of the calibration texts, seen once."""
    small, length = copy.deepcopy(small), bench.task.max_length or 128
    recipe = {"epochs": 1, "learning_rate": LEARNING_RATE, "batch_size": BATCH, "max_length": length}
    finetune(small, bench.tokenizer, calibration.data, **recipe)
    return small


def write_page(rows: list[dict]) -> None:
    """docs/fan2021.md from the cells."""
    lines = [
        "# The paper's selection, as we read it, measured",
        "",
        "MiniLM, fine-tuned on each task; the same share of neurons and heads kept in every layer; mean over",
        "calibration draws. `information` is `ChannelInformation`; `fan2021` and its options are explained in",
        "[criteria/fan2021.md](criteria/fan2021.md). *Cut*: rows and columns are removed and nothing else.",
        "*Compensated*: readers take over what the lost units said. *Repaired*: all of it, re-fitted bottom-up.",
        "",
        "Made by `python -m experiments.fan2021`; only cells that have been computed are shown.",
        "",
        "## Against other criteria",
        "",
        f"{SAMPLES['test']} calibration texts. *Tuned*: then fine-tuned with the labels of these same texts, each",
        f"seen once: {SAMPLES['test'] // BATCH} steps of {BATCH} texts, learning rate {LEARNING_RATE:.0e}, for",
        "all. News articles are cut after 64 tokens, for the dense model as well. The KL is to the dense model's",
        "answers, which tuning on labels does not aim at.",
        "",
        "On movie reviews, while nothing is repaired, the paper's selection is far above magnitude and random;",
        "after the repair it is within two points of them, and ahead by the KL. Repaired, `information` is above it",
        "by one to four points, and by more the fewer units stay. On news the paper's selection is above both without",
        "the repair at keep 0.25 as well, but after the repair it is behind magnitude there (94.8% against 97.0%)",
        "and no better than random; `information` has the smallest KL everywhere. The repair is worth more than",
        "the choice of the units, since random ones, repaired, are level with or above any that are merely cut, and",
        "more than these few steps of tuning, for every criterion. On top of the repair the steps change the accuracy",
        "by a point and a half at most, either way. One draw: differences below a point mean little, and of 500 news,",
        "five are a point.",
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
        "option is changed at a time unless said.",
        "",
        *table(options, "validation", ("cut", "compensated")),
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(rows: list[dict], split: str, stages: tuple[str, ...]) -> Iterator[str]:
    """One row for every share and criterion that there are cells of."""
    stages = tuple(stage for stage in stages if any(stage in row for row in rows))
    yield f"| keep | criterion | draws | {' | '.join(f'{stage} | KL' for stage in stages)} |"
    yield "|" + "---|" * (3 + 2 * len(stages))
    for keep in sorted(KEEPS[split], reverse=True):
        for name in (*RIVALS, *OPTIONS):
            cells = [row for row in rows if (row["keep"], row["criterion"]) == (keep, name)]
            if cells:
                draws = len({row["seed"] for row in cells})
                yield f"| {keep:g} | {title(name)} | {draws} | {columns(cells, stages)} |"


def title(name: str) -> str:
    """Options of `Fan2021` are called after it."""
    return name if name in RIVALS or name == "fan2021" else f"fan2021, {name}"


def columns(cells: list[dict], stages: tuple[str, ...]) -> str:
    """Mean accuracy and KL of every stage."""
    found = [[cell[stage] for cell in cells if stage in cell] for stage in stages]
    return " | ".join(
        f"{fmean(c['accuracy'] for c in some):.2%} | {fmean(c['kl'] for c in some):.3f}" if some else " | "
        for some in found
    )


if __name__ == "__main__":
    main()
