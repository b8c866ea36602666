"""What a smaller vocabulary saves and costs: movie reviews, tokens counted on the training texts, test split.

Run: python -m experiments.vocabulary [--seeds 3]
"""

import argparse
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from experiments.cells import cell, console
from experiments.movie_reviews import calibration, dense_model, splits
from infoprune.checkpoint import save
from infoprune.compress import compress
from infoprune.data.batches import label_ids, make_batches
from infoprune.data.texts import TextData, read_texts
from infoprune.tasks.evaluate import Evaluation, agreement, evaluate, mean_kl
from infoprune.vocabulary.tokens import prune_vocabulary

RESULTS = Path(__file__).parent / "results" / "vocabulary.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "vocabulary.md"
EXTRA = 1200
"""As many as leave the file 35 % smaller on top of half of the neurons and heads."""
ALL = (None, 0)
STAY = {
    ALL: "all",
    (1, EXTRA): f"seen, and {EXTRA:,} more",
    (1, 0): "seen",
    (2, 0): "seen 2 times",
    (3, 0): "seen 3 times",
}
"""Tokens that stay, by how often they must occur and how many more there are."""
MARK = "<!-- table: python -m experiments.vocabulary -->"


def main() -> None:
    """Computes what is missing and writes the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="calibration draws")
    options = parser.parse_args()
    model, tokenizer = dense_model()
    test = read_texts(splits()["test"], need_labels=True)

    def half(seed: int) -> PreTrainedModel:
        return compress(model, calibration(tokenizer, seed), keep=0.5, seed=seed).model

    groups = {"all": measured(lambda: model, tokenizer, test, "all", 0)}
    groups["half"] = []
    for seed in range(options.seeds):
        groups["half"] += measured(cache(partial(half, seed)), tokenizer, test, "half", seed)
    write_table(groups)
    console.print(f"wrote {PAGE.name}")


def measured(
    model: Callable[[], PreTrainedModel], tokenizer: PreTrainedTokenizerBase, test: TextData, units: str, seed: int
) -> list[dict]:
    """A cell for everything that may stay; the rarest cases on the first draw alone."""
    whole = cache(lambda: answers(model(), tokenizer, test))
    return [
        cell(
            RESULTS,
            {"units": units, "seed": seed, "min_count": count, "extra": extra},
            partial(measure, model, tokenizer, test, whole, count, extra),
        )
        for count, extra in STAY
        if seed == 0 or (count or 0) <= 1
    ]


def measure(
    model: Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    test: TextData,
    whole: Callable[[], Evaluation],
    min_count: int | None,
    extra: int,
) -> dict:
    """One cell: cut, save, evaluate."""
    small, words, expected = model(), tokenizer, 0.0
    if min_count is not None:
        cut = prune_vocabulary(small, tokenizer, read_texts(splits()["train"]), min_count=min_count, extra=extra)
        small, words, expected = cut.model, cut.tokenizer, cut.pieces
    with TemporaryDirectory() as folder:
        save(small, f"{folder}/out", words)
        size = (Path(folder) / "out" / "model.safetensors").stat().st_size
    found = answers(small, words, test)
    before, after = (given(list(test.texts), add_special_tokens=False)["input_ids"] for given in (tokenizer, words))
    kept = set(words.get_vocab())
    lost = [[token not in kept for token in tokenizer.convert_ids_to_tokens(ids)] for ids in before]
    return {
        "tokens": len(words),
        "bytes": size,
        "accuracy": found.metrics["accuracy"],
        "agreement": agreement(whole().logits, found.logits),
        "kl": mean_kl(whole().logits, found.logits),
        "expected": expected,
        "tokens_lost": sum(map(sum, lost)) / sum(map(len, lost)),
        "texts_changed": sum(map(any, lost)) / len(lost),
        "unknown": sum(ids.count(words.unk_token_id) for ids in after) / sum(map(len, after)),
        "longer": sum(map(len, after)) / sum(map(len, before)) - 1,
    }


def answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, test: TextData) -> Evaluation:
    """In the order of the data, so that two tokenizers can be compared."""
    rows = test.among(sorted(range(len(test)), key=lambda row: len(test.texts[row])))
    return evaluate(model, make_batches(rows, tokenizer, labels=label_ids(rows.labels, model.config), sort=False))


def write_table(groups: dict[str, list[dict]]) -> None:
    """The last part of docs/vocabulary.md, after the mark."""
    lines = [
        MARK,
        "",
        "| neurons and heads | draws | tokens that stay | tokens | model.safetensors | smaller | accuracy "
        "| points lost (lowest to highest) | agreement | KL (nats) | test tokens that are gone | as expected "
        "| test texts with one | unknown tokens | more tokens |",
        "|" + "---|" * 15,
    ]
    for units, rows in groups.items():
        whole = {row["seed"]: row for row in chosen(rows, ALL)}
        for stay, title in STAY.items():
            some = chosen(rows, stay)
            lost = [100 * (whole[row["seed"]]["accuracy"] - row["accuracy"]) for row in some]
            smaller = 1 - mean(some, "bytes") / fmean(whole[row["seed"]]["bytes"] for row in some)
            lines.append(
                f"| {units} | {len(some)} | {title} | {mean(some, 'tokens'):,.0f} "
                f"| {mean(some, 'bytes') / 1e6:.1f} MB | {smaller:.1%} | {mean(some, 'accuracy'):.2%} "
                f"| {fmean(lost):.2f} ({min(lost):.2f} to {max(lost):.2f}) | {mean(some, 'agreement'):.2%} "
                f"| {mean(some, 'kl'):.4f} | {mean(some, 'tokens_lost'):.2%} | {mean(some, 'expected'):.2%} "
                f"| {mean(some, 'texts_changed'):.1%} | {mean(some, 'unknown'):.3%} | {mean(some, 'longer'):.2%} |"
            )
    text = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")


def chosen(rows: list[dict], stay: tuple[int | None, int]) -> list[dict]:
    """The draws of a line."""
    return [row for row in rows if (row["min_count"], row["extra"]) == stay]


def mean(rows: list[dict], quantity: str) -> float:
    """Over the calibration draws."""
    return fmean(row[quantity] for row in rows)


if __name__ == "__main__":
    main()
