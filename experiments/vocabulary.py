"""Size and loss of a pruned vocabulary: movie reviews, tokens counted on the training texts, test split.

Seed k means dense model k and calibration seed k.

Run: python -m experiments.vocabulary [--seeds 3]
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from experiments.cells import cell, console
from experiments.movie_reviews import TASK, splits
from infoprune.checkpoint import save
from infoprune.data.batches import label_ids, make_batches
from infoprune.data.texts import TextData, read_texts
from infoprune.pipeline.prune import prune
from infoprune.plan import VOCABULARY, Plan, plan_of
from infoprune.surgery import apply_plan
from infoprune.tasks.evaluate import Evaluation, agreement, evaluate, mean_kl
from infoprune.vocabulary.remapping import remap_tokens
from infoprune.vocabulary.tokens import prune_vocabulary

RESULTS = Path(__file__).parent / "results" / "vocabulary.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "research/vocabulary.md"
MARK = "<!-- table: python -m experiments.vocabulary -->"


@dataclass(frozen=True)
class Choice:
    """Which tokens are kept, and how the others are handled.

    Args:
        title: Name in the table.
        min_count: Least count of a kept token; None keeps all tokens.
        extra: Number of further tokens that are kept.
        dropped: "pieces", "remap", or for comparison "remap, plain distance".
        seeds: Number of seeds with half of the neurons and heads.
        dense: Whether it is measured with all neurons and heads as well, with the first seed.
    """

    title: str
    min_count: int | None
    extra: int = 0
    dropped: str = "pieces"
    seeds: int = 3
    dense: bool = True

    @property
    def key(self) -> dict:
        """Part of the key of its cells."""
        return {"min_count": self.min_count, "extra": self.extra, "dropped": self.dropped}


EXTRA = {"pieces": 1200, "remap": 2700}
"""The numbers with which the file (pieces) or the whole folder (remap) is 35 % smaller, with half of the units."""
PLAIN = "remap, plain distance"
WHOLE = Choice("all", None)
CHOICES = (
    WHOLE,
    Choice(f"seen, and {EXTRA['pieces']:,} more", 1, EXTRA["pieces"]),
    Choice("seen", 1),
    Choice("seen 2 times", 2, seeds=1, dense=False),
    Choice("seen 3 times", 3, seeds=1, dense=False),
    Choice(f"seen, and {EXTRA['remap']:,} more", 1, EXTRA["remap"], PLAIN, dense=False),
    Choice(f"seen, and {EXTRA['remap']:,} more", 1, EXTRA["remap"], "remap"),
    Choice("seen", 1, dropped="remap"),
    Choice("seen 2 times", 2, dropped="remap", dense=False),
    Choice("seen 3 times", 3, dropped="remap", seeds=1, dense=False),
)


def main() -> None:
    """Compute the missing cells and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    options = parser.parse_args()
    test = read_texts(splits()["test"], need_labels=True)
    groups: dict[str, list[dict]] = {"all": measured("all", 0, test), "half": []}
    for seed in range(options.seeds):
        groups["half"] += measured("half", seed, test)
    write_table(groups)
    console.print(f"wrote {PAGE.name}")


def measured(units: str, seed: int, test: TextData) -> list[dict]:
    """Return the cells of all choices."""

    @cache
    def model() -> PreTrainedModel:
        if units == "all":
            return dense
        return prune(dense, TASK.calibration(tokenizer, seed), keep=0.5, seed=seed).model

    dense, tokenizer = TASK.dense_model(seed)
    whole = cache(lambda: answers(model(), tokenizer, test))
    return [
        cell(
            RESULTS,
            {"units": units, "seed": seed, **choice.key},
            partial(measure, model, tokenizer, test, whole, choice),
        )
        for choice in CHOICES
        if seed < choice.seeds and (choice.dense or units == "half")
    ]


def measure(
    model: Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    test: TextData,
    whole: Callable[[], Evaluation],
    choice: Choice,
) -> dict:
    """Compute one cell: cut, save, evaluate."""
    small, words, expected, rows = model(), tokenizer, 0.0, len(tokenizer)
    stay = set(tokenizer.get_vocab().values())
    if choice.min_count is not None:
        train = read_texts(splits()["train"])
        cut = prune_vocabulary(
            small,
            tokenizer,
            train,
            min_count=choice.min_count,
            extra_tokens=choice.extra,
            dropped_tokens="pieces" if choice.dropped == "pieces" else "remap",
        )
        words, expected, kept = cut.tokenizer, cut.missing, plan_of(cut.model).kept[VOCABULARY]
        small = by_plain_distance(small, kept) if choice.dropped == PLAIN else cut.model
        stay = set(kept)
        rows = len(stay)
    with TemporaryDirectory() as folder:
        save(small, f"{folder}/out", words)
        sizes = {file.name: file.stat().st_size for file in (Path(folder) / "out").iterdir()}
    found = answers(small, words, test)
    before, after = (given(list(test.texts), add_special_tokens=False)["input_ids"] for given in (tokenizer, words))
    lost = [[token not in stay for token in ids] for ids in before]
    return {
        "tokens": rows,
        "bytes": sizes["model.safetensors"],
        "folder": sum(sizes.values()),
        "accuracy": found.metrics["accuracy"],
        "agreement": agreement(whole().logits, found.logits),
        "kl": mean_kl(whole().logits, found.logits),
        "expected": expected,
        "tokens_lost": sum(map(sum, lost)) / sum(map(len, lost)),
        "texts_changed": sum(map(any, lost)) / len(lost),
        "unknown": sum(ids.count(words.unk_token_id) for ids in after) / sum(map(len, after)),
        "longer": sum(map(len, after)) / sum(map(len, before)) - 1,
    }


def by_plain_distance(model: PreTrainedModel, kept: tuple[int, ...]) -> PreTrainedModel:
    """Return the model with the same kept tokens and the others remapped by plain distance."""
    table = model.get_input_embeddings().weight.detach()
    found = remap_tokens(table, torch.eye(table.shape[1], dtype=torch.float64), torch.tensor(kept))
    units = {VOCABULARY: len(table)}
    plan = Plan(model.config.model_type, units, {VOCABULARY: kept}, "counts", 0, token_map=tuple(found.tolist()))
    return apply_plan(model, plan)


def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, test: TextData) -> Evaluation:
    """Return the evaluation in the order of the data, so that two tokenizers can be compared."""
    rows = test.among(sorted(range(len(test)), key=lambda row: len(test.texts[row])))
    return evaluate(model, make_batches(rows, tokenizer, labels=label_ids(rows.labels, model.config), sort=False))


def write_table(groups: dict[str, list[dict]]) -> None:
    """Write the last part of docs/research/vocabulary.md, after the mark."""
    lines = [
        MARK,
        "",
        "| neurons and heads | dropped tokens | kept tokens | seeds | rows | model.safetensors | smaller "
        "| whole folder, smaller | accuracy | points lost (lowest to highest) | agreement | KL (nats) "
        "| KL, lowest to highest | removed test tokens | expected | test texts with one | more tokens |",
        "|" + "---|" * 17,
    ]
    for units, rows in groups.items():
        whole = {row["seed"]: row for row in chosen(rows, WHOLE)}
        for choice in CHOICES:
            some = chosen(rows, choice)
            if not some:
                continue
            kl = [row["kl"] for row in some]
            lost = [100 * (whole[row["seed"]]["accuracy"] - row["accuracy"]) for row in some]
            file, folder = (
                1 - mean(some, size) / fmean(whole[row["seed"]][size] for row in some) for size in ("bytes", "folder")
            )
            lines.append(
                f"| {units} | {'' if choice is WHOLE else choice.dropped} | {choice.title} | {len(some)} "
                f"| {mean(some, 'tokens'):,.0f} | {mean(some, 'bytes') / 1e6:.1f} MB | {file:.1%} | {folder:.1%} "
                f"| {mean(some, 'accuracy'):.2%} | {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) "
                f"| {mean(some, 'agreement'):.2%} | {fmean(kl):.4f} | {min(kl):.4f} to {max(kl):.4f} "
                f"| {mean(some, 'tokens_lost'):.2%} | {mean(some, 'expected'):.2%} "
                f"| {mean(some, 'texts_changed'):.1%} | {mean(some, 'longer'):.2%} |"
            )
    text = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


def chosen(rows: list[dict], choice: Choice) -> list[dict]:
    """Return the rows of a line, one per seed."""
    return [row for row in rows if choice.key.items() <= row.items()]


def mean(rows: list[dict], quantity: str) -> float:
    """Return the mean over the seeds."""
    return fmean(row[quantity] for row in rows)


if __name__ == "__main__":
    main()
