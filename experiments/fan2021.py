"""The paper's selection as we read it, against ours and the plain ones: movie reviews, no training after the cut.

Every option of `Fan2021` is looked at on the validation split; its defaults, its two redundancy terms and the rivals
are reported on the test split. Run: python -m experiments.fan2021 [--seeds 1]
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from experiments.cells import cell, console
from experiments.movie_reviews import Batches, dense_model, labelled, splits
from infoprune.budgets.allocate import Keep, allocate
from infoprune.data.batches import label_ids, make_batches
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

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results" / "fan2021.jsonl"
PAGE = ROOT / "docs" / "fan2021.md"

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
REPORTED = ("fan2021", "mrmr", "joint (greedy)")
CELLS: dict[str, dict[str, Criterion]] = {
    "test": {name: (RIVALS | OPTIONS)[name] for name in (*REPORTED, *RIVALS)},
    "validation": RIVALS | OPTIONS,
}
KEEPS = {"test": (0.25, 0.5, 0.75), "validation": (0.5, 0.25)}


def main() -> None:
    """Computes what is missing and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="calibration draws")
    parser.add_argument("--only", choices=("validation", "test"), help="compute the cells of one split, write no page")
    parser.add_argument("--page", action="store_true", help="write the page from the cells that are there")
    options = parser.parse_args()
    model, tokenizer = dense_model()
    dense_accuracy = {}
    for split, criteria in CELLS.items():
        if options.only not in (None, split):
            continue
        batches = labelled(tokenizer, model, split)
        dense = evaluate(model, batches)
        dense_accuracy[split] = dense.metrics["accuracy"]
        for seed in range(0 if options.page else options.seeds):
            calibration = Calibration(model, tokenizer, seed)
            for name, criterion in criteria.items():
                for keep in KEEPS[split]:
                    key = {"split": split, "criterion": name, "keep": keep, "seed": seed}
                    cell(RESULTS, key, partial(measure, calibration, batches, dense, criterion, keep, split == "test"))
    if options.only is None:
        rows = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
        write_page(rows, dense_accuracy)
        console.print(f"wrote {PAGE.name}")


class Calibration:
    """Calibration texts and their statistics, collected when first asked for and shared by all criteria."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int, samples: int = 1024):
        data = read_texts(splits()["train"], need_labels=True)
        labels = label_ids(data.labels, model.config)
        self.model, self.seed = model, seed
        self.texts = make_batches(data, tokenizer, labels=labels, samples=samples, seed=seed)
        self.plain: Callable[[], Statistics] = cache(lambda: collect(model, self.texts))
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


def measure(
    calibration: Calibration,
    batches: Batches,
    dense: Evaluation,
    criterion: Criterion,
    keep: float,
    repaired: bool,
) -> dict:
    """One cell: the cut alone, with the readers compensated, and repaired."""
    model, plain = calibration.model, calibration.plain()
    rankings = rank(calibration.statistics(criterion), criterion, budget=Keep(keep), seed=calibration.seed)
    plan = allocate(rankings, Keep(keep))
    stages = {"cut": prune(model, plan), "compensated": prune(model, plan, plain)}
    if repaired:
        stages["repaired"] = repair(stages["compensated"], model, calibration.texts, statistics=plain)
    found = {}
    for stage, small in stages.items():
        answers = evaluate(small, batches)
        found[stage] = {"kl": mean_kl(dense.logits, answers.logits), "accuracy": answers.metrics["accuracy"]}
    return found


def write_page(rows: list[dict], dense: dict[str, float]) -> None:
    """docs/fan2021.md from the cells."""
    lines = [
        "# The paper's selection, as we read it, measured",
        "",
        "MiniLM fine-tuned on short movie reviews; the same share of neurons and heads kept in every layer; 1,024",
        "calibration texts; no training after the cut; mean over calibration draws. `information` is",
        "`ChannelInformation`; `fan2021` and its options are explained in [criteria/fan2021.md](criteria/fan2021.md).",
        "*Cut*: rows and columns are removed and nothing else. *Compensated*: readers take over what the lost units",
        "said. *Repaired*: all of it, re-fitted bottom-up.",
        "",
        "Made by `python -m experiments.fan2021`; only cells that have been computed are shown.",
        "",
        "## Against other criteria",
        "",
        f"Test split (1,700 texts); dense accuracy {dense['test']:.2%}. Accuracy, and KL in nats.",
        "",
        *table(rows, "test", ("cut", "compensated", "repaired")),
        "",
        "## Options",
        "",
        f"Validation split (900 texts); dense accuracy {dense['validation']:.2%}.",
        "One option is changed at a time unless said.",
        "",
        *table(rows, "validation", ("cut", "compensated")),
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table(rows: list[dict], split: str, stages: tuple[str, ...]) -> Iterator[str]:
    """One row for every share and criterion that there are cells of."""
    yield f"| keep | criterion | draws | {' | '.join(f'{stage} | KL' for stage in stages)} |"
    yield "|" + "---|" * (3 + 2 * len(stages))
    for keep in sorted(KEEPS[split], reverse=True):
        for name in (*RIVALS, *OPTIONS):
            cells = [row for row in rows if (row["split"], row["keep"], row["criterion"]) == (split, keep, name)]
            if cells:
                yield f"| {keep:g} | {title(name)} | {len(cells)} | {columns(cells, stages)} |"


def title(name: str) -> str:
    """Options of `Fan2021` are called after it."""
    return name if name in RIVALS or name == "fan2021" else f"fan2021, {name}"


def columns(cells: list[dict], stages: tuple[str, ...]) -> str:
    """Mean accuracy and KL of every stage."""
    means = [(fmean(c[stage]["accuracy"] for c in cells), fmean(c[stage]["kl"] for c in cells)) for stage in stages]
    return " | ".join(f"{accuracy:.2%} | {kl:.3f}" for accuracy, kl in means)


if __name__ == "__main__":
    main()
